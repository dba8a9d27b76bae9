#!/bin/sh
# Makes of cargo's static library one whose only global names are ingest_*: own_symbols.sh FROM TO
#
# Cargo's archive has every name of the library's parts as a global one: Rust's own (rust_eh_personality, mangled ones of std and of every
# crate) and those of AWS-LC (assembler like sha3_keccak4_f1600, functions under one prefix a version). A host that holds another Rust
# library, or another copy of the same cryptography, could not be linked, or worse, would be linked to the wrong one. Here all objects
# become one, in which every other name is local. LD, NM, OBJCOPY and AR may name the tools for another processor.
set -eu
from=$1 to=$2
: "${LD:=ld}" "${NM:=nm}" "${OBJCOPY:=objcopy}" "${AR:=ar}"

names=$("$NM" --defined-only --extern-only "$from" 2>/dev/null | sed -n 's/.* T \(ingest_[a-z0-9_]*\)$/\1/p' | sort -u)
test -n "$names" || { echo "own_symbols: $from has no function ingest_*" >&2; exit 1; }

folder=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$folder"' EXIT
# What no function of ours needs is left out. Groups of sections (one copy a program, whoever brings it) are dissolved: ours is our own.
# shellcheck disable=SC2086 # one word each
"$LD" -r --gc-sections --force-group-allocation $(printf -- '--undefined=%s\n' $names) -o "$folder/all.o" "$from"
# Bitcode of std, joined to something that no tool can read.
"$OBJCOPY" --wildcard --keep-global-symbol='ingest_*' --remove-section=.llvmbc --remove-section=.llvmcmd "$folder/all.o" "$folder/ingest.o"
"$AR" rcsD "$folder/libingest.a" "$folder/ingest.o"
mv "$folder/libingest.a" "$to"
