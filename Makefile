# The short way to the commands of the README. The examples are built by examples-c/Makefile and tested by tests/run; this file installs.
#
#   make                           every example
#   make run ARGS='…'              builds hello and serves; ARGS='--help' says what it takes
#   make test                      every test
#   make library                   the release build of libingest.so, and of libingest.a with no global name but ingest_*
#   make install PREFIX=/usr/local DESTDIR=
#                                  header, both libraries, ingest.pc and the CMake package; LIBDIR and INCLUDEDIR move their parts,
#                                  DESTDIR stands before every path and is written into no file. Builds what is older than its sources,
#                                  so that after `make library` someone who has no cargo can install: `make library && sudo make install`
#   make uninstall                 takes away what `make install` with the same variables laid down
#   make clean                     the built examples
#
# CARGO_TARGET_DIR moves cargo's own output; CARGO_BUILD_TARGET is cargo's, for another processor.

# A template that cannot be read must not end as an empty file.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

CARGO ?= cargo
INSTALL ?= install

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=

# The soname as build.rs makes it: 0.MINOR before 1.0, then MAJOR.
VERSION := $(shell sed -n '/^version *= */{s/.*"\(.*\)".*/\1/p;q}' Cargo.toml)
MAJOR := $(word 1,$(subst ., ,$(VERSION)))
MINOR := $(word 2,$(subst ., ,$(VERSION)))
SERIES := $(if $(filter 0,$(MAJOR)),0.$(MINOR),$(MAJOR))
SONAME := libingest.so.$(SERIES)
LIBRARY := libingest.so.$(VERSION)

# What the static library needs of the system: `rustc --print native-static-libs`, less what every C compiler links by itself.
PRIVATE_LIBRARIES := -lutil -lrt -lpthread -lm -ldl

TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/$(if $(CARGO_BUILD_TARGET),$(CARGO_BUILD_TARGET)/)release
# Cargo's static library with no global name but ingest_*.
STATIC := $(RELEASE)/own/libingest.a
SOURCES := $(shell find src -name '*.rs') build.rs Cargo.toml Cargo.lock

PACKAGE = $(LIBDIR)/cmake/ingest
INSTALLED = $(INCLUDEDIR)/ingest.h $(LIBDIR)/$(LIBRARY) $(LIBDIR)/$(SONAME) $(LIBDIR)/libingest.so $(LIBDIR)/libingest.a \
  $(LIBDIR)/pkgconfig/ingest.pc $(PACKAGE)/ingestConfig.cmake $(PACKAGE)/ingestConfigVersion.cmake

all:
	@$(MAKE) --no-print-directory -C examples-c

run:
	@$(MAKE) --no-print-directory -C examples-c run ARGS='$(ARGS)'

test:
	@tests/run

clean:
	@$(MAKE) --no-print-directory -C examples-c clean

library: $(RELEASE)/libingest.so $(STATIC)

# One kind at a time, as examples-c/Makefile does it, so that neither build undoes the other's.
$(RELEASE)/libingest.so: KIND := cdylib
$(RELEASE)/libingest.a: KIND := staticlib
$(RELEASE)/libingest.so $(RELEASE)/libingest.a: $(SOURCES)
	@$(MAKE) --no-print-directory -C examples-c toolchain
	$(CARGO) rustc --quiet --release --lib --crate-type $(KIND) --target-dir '$(TARGET)'
	@touch $@

$(STATIC): $(RELEASE)/libingest.a packaging/own_symbols.sh
	@mkdir -p '$(@D)'
	LD='$(LD)' NM='$(NM)' OBJCOPY='$(OBJCOPY)' AR='$(AR)' packaging/own_symbols.sh '$<' '$@'

install: places library
	@$(INSTALL) -d '$(DESTDIR)$(INCLUDEDIR)' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(PACKAGE)'
	$(INSTALL) -m 644 include/ingest.h '$(DESTDIR)$(INCLUDEDIR)/ingest.h'
	$(INSTALL) -m 755 '$(RELEASE)/libingest.so' '$(DESTDIR)$(LIBDIR)/$(LIBRARY)'
	@ln -sf $(LIBRARY) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	@ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libingest.so'
	$(INSTALL) -m 644 '$(STATIC)' '$(DESTDIR)$(LIBDIR)/libingest.a'
	@$(call written,ingest.pc,$(LIBDIR)/pkgconfig)
	@$(call written,ingestConfig.cmake,$(PACKAGE))
	@$(call written,ingestConfigVersion.cmake,$(PACKAGE))
	@echo 'libingest $(VERSION) is in $(DESTDIR)$(PREFIX)$(if $(DESTDIR),,; if programs do not find it: run ldconfig as root)'

uninstall: places
	rm -f $(INSTALLED:%='$(DESTDIR)%')
	@if [ -d '$(DESTDIR)$(PACKAGE)' ]; then rmdir --ignore-fail-on-non-empty '$(DESTDIR)$(PACKAGE)'; fi

# Fills in a template of packaging/ and installs it into a folder.
written = sed \
  -e 's|@PREFIX@|$(PREFIX)|' \
  -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
  -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
  -e 's|@VERSION@|$(VERSION)|' \
  -e 's|@SERIES@|$(SERIES)|' \
  -e 's|@SONAME@|$(SONAME)|' \
  -e 's|@LIBRARY@|$(LIBRARY)|' \
  -e 's|@PRIVATE_LIBRARIES@|$(PRIVATE_LIBRARIES)|' \
  -e "s|@PRIVATE_LIBRARIES_LIST@|$$(echo $(PRIVATE_LIBRARIES) | tr ' ' ';')|" \
  -e "s|@LIBRARIES_FROM_HERE@|$$(realpath -ms --relative-to='$(PACKAGE)' '$(LIBDIR)')|" \
  -e "s|@HEADERS_FROM_HERE@|$$(realpath -ms --relative-to='$(PACKAGE)' '$(INCLUDEDIR)')|" \
  packaging/$(1).in | $(INSTALL) -m 644 /dev/stdin '$(DESTDIR)$(2)/$(1)'

# These are written into files for pkg-config and CMake, where such signs mean something.
UNFIT := ' " \ | & ; ( ) < > * ?
places:
	@:$(foreach name,PREFIX LIBDIR INCLUDEDIR,\
	  $(if $(filter-out 1,$(words $($(name))))$(filter-out /%,$($(name))),\
	    $(error $(name)=$($(name)) is no place to install to: give an absolute path without spaces))\
	  $(foreach sign,$(UNFIT),$(if $(findstring $(sign),$($(name))),\
	    $(error $(name)=$($(name)) is no place to install to: give a path without the sign $(sign)))))

.PHONY: all run test clean library install uninstall places
