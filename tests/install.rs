//! Proves that `make install` lays down what a host needs, and that the README's server, built out of the installed tree as the README says, answers.

#[path = "abi/library.rs"]
#[allow(dead_code)] // only the soname is asked for here
mod library;
mod runner;

use runner::client::Client;
use runner::{Server, root, run};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a server may take until it listens; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands on the standard output of a tool that must be there.
fn tool(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let package = if name == "readelf" { "binutils" } else { name.as_str() };
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {name}: {error} (install it: apt-get install {package})"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{command:?} failed:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
#[should_panic(expected = "cannot run no-such-tool: No such file or directory (os error 2) (install it: apt-get install no-such-tool)")]
fn a_missing_tool_is_a_failure_that_says_what_to_install() {
    tool(&mut Command::new("no-such-tool"));
}

/// A folder of one test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("install").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("what an earlier run left can be removed");
    }
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
}

fn make(target: &str, variables: &[String]) -> Command {
    let mut make = Command::new("make");
    make.arg("--no-print-directory").arg("-C").arg(root()).arg(target).args(variables);
    // What the caller of the tests has set, as a packager may, is not what is tried here.
    for name in ["PREFIX", "LIBDIR", "INCLUDEDIR", "DESTDIR", "MAKEFLAGS"] {
        make.env_remove(name);
    }
    make
}

/// Installs right into a folder, as a user does; returns it.
fn installed(name: &str) -> PathBuf {
    let prefix = folder(name).join("prefix");
    tool(&mut make("install", &[format!("PREFIX={}", prefix.display())]));
    prefix
}

/// Installs below a stage for a prefix that does not exist on this machine, as a packager does; returns where the prefix really lies.
fn staged(name: &str, prefix: &str, more: &[&str]) -> (PathBuf, PathBuf) {
    let stage = folder(name).join("stage");
    let mut variables = vec![format!("DESTDIR={}", stage.display()), format!("PREFIX={prefix}")];
    variables.extend(more.iter().map(|variable| variable.to_string()));
    tool(&mut make("install", &variables));
    let below = stage.join(prefix.trim_start_matches('/'));
    (stage, below)
}

/// Every file and link below a folder, as `path mode` or `path -> target`.
fn listing(below: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the folder can be read").path();
            let name = path.strip_prefix(below).expect("it lies below").display().to_string();
            let about = path.symlink_metadata().expect("it is there");
            if about.is_dir() {
                folders.push(path);
            } else if about.is_symlink() {
                found.push(format!("{name} -> {}", std::fs::read_link(&path).expect("it is a link").display()));
            } else {
                found.push(format!("{name} {:o}", about.permissions().mode() & 0o7777));
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn readme() -> String {
    read(&root().join("README.md"))
}

/// The first block of the README in a language.
fn block(language: &str) -> String {
    let readme = readme();
    let block = readme.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("the README has no block of {language}")).to_string()
}

/// The README's server, which takes its address from the environment instead of 8080: that port may be taken.
fn write_server(folder: &Path) {
    let text = block("c");
    let fixed = "\"http://127.0.0.1:8080\"";
    assert!(text.contains(fixed), "the README's server listens elsewhere");
    let text = format!("#include <stdlib.h>\n{}", text.replace(fixed, "getenv(\"ADDRESS\")"));
    std::fs::write(folder.join("server.c"), text).expect("the temporary folder can be written");
}

/// Starts a program, asks it once and returns the libingest that it has mapped: none, if it is linked statically.
fn ask_once(program: &Path, library_path: Option<&Path>) -> Option<PathBuf> {
    for _ in 0..5 {
        // It prints no port, so it is given one that was free a moment ago.
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port is free").port();
        let mut command = Command::new(program);
        // Cargo's own search path of the tests has a libingest.so, too.
        command.env("ADDRESS", format!("http://127.0.0.1:{port}")).env_remove("LD_LIBRARY_PATH");
        if let Some(path) = library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        let server = Server::start(&mut command, 0);
        let about = PathBuf::from(format!("/proc/{}", server.process()));
        let began = Instant::now();
        while began.elapsed() < PATIENCE && !has_ended(&about) {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                let response = Client::connect(port).get("/");
                assert_eq!((response.status, response.body.as_slice()), (200, &b"hello\n"[..]));
                let maps = read(&about.join("maps"));
                let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libingest"));
                return mapped.map(PathBuf::from);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(has_ended(&about), "{} does not listen", program.display());
        let ended = server.finish();
        assert!(ended.stderr.contains("in use"), "{} ended with {:?}: {}", program.display(), ended.status, ended.stderr);
        // Someone else took the port meanwhile.
    }
    panic!("{} found its port taken five times", program.display());
}

/// A child that has ended and was not waited for is a zombie.
fn has_ended(about: &Path) -> bool {
    let stat = read(&about.join("stat"));
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn shared_file(below: &Path) -> PathBuf {
    below.join(format!("libingest.so.{VERSION}")).canonicalize().expect("it was installed")
}

#[test]
fn the_tree_has_everything_and_nothing_else() {
    let soname = library::soname();
    let mut expected = vec![
        "include/ingest.h 644".to_string(),
        format!("lib/libingest.so -> {soname}"),
        format!("lib/{soname} -> libingest.so.{VERSION}"),
        format!("lib/libingest.so.{VERSION} 755"),
        "lib/libingest.a 644".to_string(),
        "lib/pkgconfig/ingest.pc 644".to_string(),
        "lib/cmake/ingest/ingestConfig.cmake 644".to_string(),
        "lib/cmake/ingest/ingestConfigVersion.cmake 644".to_string(),
    ];
    expected.sort();
    let (stage, below) = staged("tree", "/opt/of-a-packager", &[]);
    assert_eq!(listing(&below), expected);
    assert_eq!(read(&below.join("include/ingest.h")), read(&root().join("include/ingest.h")));
    // What is installed again, over an older one, is the same again.
    let again = [format!("DESTDIR={}", stage.display()), "PREFIX=/opt/of-a-packager".to_string()];
    tool(&mut make("install", &again));
    assert_eq!(listing(&stage).len(), expected.len());
    for text in ["lib/pkgconfig/ingest.pc", "lib/cmake/ingest/ingestConfig.cmake", "lib/cmake/ingest/ingestConfigVersion.cmake"] {
        let text = read(&below.join(text));
        assert!(!text.contains(&stage.display().to_string()), "the stage is written into {text}");
        assert!(!text.contains('@'), "something is not filled in: {text}");
    }

    // Others' files in the same folders stay.
    let foreign = ["lib/libother.so", "lib/pkgconfig/other.pc", "lib/cmake/ingest/other.cmake"];
    foreign.iter().for_each(|name| std::fs::write(below.join(name), "x").expect("the temporary folder can be written"));
    tool(&mut make("uninstall", &again));
    let mut left = listing(&below);
    left.iter_mut().for_each(|line| line.truncate(line.rfind(' ').unwrap_or(line.len())));
    assert_eq!(left, ["lib/cmake/ingest/other.cmake", "lib/libother.so", "lib/pkgconfig/other.pc"]);
    std::fs::remove_file(below.join(foreign[2])).expect("it was written above");
    tool(&mut make("uninstall", &again));
    assert!(!below.join("lib/cmake/ingest").exists(), "the package's own folder is left behind");
}

#[test]
fn the_readme_builds_with_pkg_config() {
    let prefix = installed("pkg-config");
    let folder = prefix.parent().expect("it lies in the test's folder");
    write_server(folder);
    tool(Command::new("pkg-config").arg("--version"));
    let readme = readme();
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("    cc ") && line.contains("pkg-config")).collect();
    assert_eq!(lines.len(), 3, "the README shows the shared library, the static one and all static: {lines:?}");
    for (line, is_shared) in lines.into_iter().zip([true, false, false]) {
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", line]).current_dir(folder).env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig"));
        shell.env_remove("PKG_CONFIG_PATH").env_remove("PKG_CONFIG_SYSROOT_DIR");
        tool(&mut shell);
        let mapped = ask_once(&folder.join("server"), is_shared.then(|| prefix.join("lib")).as_deref());
        assert_eq!(mapped, is_shared.then(|| shared_file(&prefix.join("lib"))), "{line}");
    }
}

/// Configures and builds a project of one program with these lines of CMake.
fn build_with_cmake(folder: &Path, name: &str, lines: &str, where_it_lies: String) -> PathBuf {
    let project = folder.join(name);
    std::fs::create_dir_all(&project).expect("the temporary folder can be written");
    write_server(&project);
    let text = format!("cmake_minimum_required(VERSION 3.16)\nproject(host C)\nadd_executable(server server.c)\n{lines}");
    std::fs::write(project.join("CMakeLists.txt"), text).expect("the temporary folder can be written");
    let build = project.join("build");
    tool(Command::new("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(where_it_lies));
    tool(Command::new("cmake").arg("--build").arg(&build));
    build.join("server")
}

#[test]
fn the_readme_builds_with_find_package() {
    // The tree lies elsewhere than where it was meant to: nothing in the package may depend on that.
    let (stage, below) = staged("cmake", "/opt/libingest", &[]);
    let lines = block("cmake");
    assert!(lines.contains(" ingest::ingest)") && lines.contains("ingest::static"), "the README names both targets: {lines}");
    let place = format!("-DCMAKE_PREFIX_PATH={}", below.display());
    let shared = build_with_cmake(&stage, "shared", &lines, place.clone());
    assert_eq!(ask_once(&shared, None), Some(shared_file(&below.join("lib"))));
    let of_static = lines.replace(" ingest::ingest)", " ingest::static)");
    let fixed = build_with_cmake(&stage, "static", &of_static, place);
    assert_eq!(ask_once(&fixed, None), None);
    // Moved once more, the tree is found again and the program that has the library within runs without it.
    let moved = stage.join("moved");
    std::fs::rename(&below, &moved).expect("it can be moved");
    assert_eq!(ask_once(&fixed, None), None);
    let shared = build_with_cmake(&stage, "again", &lines, format!("-DCMAKE_PREFIX_PATH={}", moved.display()));
    assert_eq!(ask_once(&shared, None), Some(shared_file(&moved.join("lib"))));
}

#[test]
fn parts_may_lie_elsewhere() {
    let more = ["LIBDIR=/usr/lib/some-linux-gnu", "INCLUDEDIR=/usr/include/ingest-0"];
    let (stage, below) = staged("parts", "/usr", &more);
    let libraries = below.join("lib/some-linux-gnu");
    let pc = read(&libraries.join("pkgconfig/ingest.pc"));
    for line in ["prefix=/usr", "libdir=${prefix}/lib/some-linux-gnu", "includedir=${prefix}/include/ingest-0"] {
        assert!(pc.lines().any(|other| other == line), "no line {line} in {pc}");
    }
    // A stage is a root of its own for pkg-config.
    let mut asked = Command::new("pkg-config");
    asked.env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &stage).env_remove("PKG_CONFIG_PATH");
    let flags = tool(asked.args(["--cflags", "--libs", "ingest"]));
    let expected = format!("-I{0}/usr/include/ingest-0 -L{0}/usr/lib/some-linux-gnu -lingest", stage.display());
    assert_eq!(flags.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
    let place = format!("-Dingest_DIR={}", libraries.join("cmake/ingest").display());
    let program = build_with_cmake(&stage, "shared", &block("cmake"), place);
    assert_eq!(ask_once(&program, None), Some(shared_file(&libraries)));
}

#[test]
fn a_place_that_cannot_be_is_refused() {
    let stage = folder("refused").join("stage");
    for (variable, why) in [
        ("PREFIX=relative", "absolute"),
        ("PREFIX=", "absolute"),
        ("PREFIX=/with a space", "spaces"),
        ("LIBDIR=lib", "absolute"),
        ("INCLUDEDIR=/a;b", "sign ;"),
        ("PREFIX=/it's", "sign '"),
    ] {
        for target in ["install", "uninstall"] {
            let ended = run(&mut make(target, &[format!("DESTDIR={}", stage.display()), variable.to_string()]));
            assert!(!ended.status.success(), "make {target} took {variable}");
            assert!(ended.stderr.contains("is no place to install to") && ended.stderr.contains(why), "{variable}: {}", ended.stderr);
        }
    }
    assert!(!stage.exists(), "something was installed all the same");
}

#[test]
fn find_package_takes_the_versions_that_fit() {
    let (stage, below) = staged("versions", "/opt/libingest", &[]);
    let [major, minor, patch] = [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")]
        .map(|part| part.parse::<u32>().expect("a number"));
    let series = if major == 0 { format!("0.{minor}") } else { major.to_string() };
    let after = if major == 0 { format!("0.{}", minor + 1) } else { (major + 1).to_string() };
    let before = if major == 0 { format!("0.{}", minor - 1) } else { (major - 1).to_string() };
    let is_first = patch == 0 && (major == 0 || minor == 0);
    let questions = [
        (series.clone(), if is_first { "TRUE EXACT" } else { "TRUE" }),
        (before.clone(), "FALSE"),
        (format!("{before}...{after}"), "TRUE"),
        (format!("{major}.{minor}.{patch}"), "TRUE EXACT"),
        (format!("{major}.{minor}.{}", patch + 1), "FALSE"),
        (format!("{major}.{}", minor + 1), "FALSE"),
        (after.clone(), "FALSE"),
        ((major + 1).to_string(), "FALSE"),
        (format!("{series}...<{after}"), "TRUE"),
        (format!("{series}...{major}.{minor}.{patch}"), "TRUE"),
        (format!("{series}...<{major}.{minor}.{patch}"), "FALSE"),
        (format!("{after}...{}", major + 2), "FALSE"),
    ];
    for (wanted, answer) in questions {
        let script = stage.join("ask.cmake");
        std::fs::write(&script, question(&wanted, &below)).expect("the temporary folder can be written");
        let ended = run(Command::new("cmake").arg("-P").arg(&script));
        // message() writes to stderr.
        assert_eq!(ended.stderr.trim(), answer, "{VERSION} for those who want {wanted}");
    }
}

/// The variables that find_package sets for a package's version file, and what that makes of them.
fn question(wanted: &str, below: &Path) -> String {
    let (least, most) = wanted.split_once("...").map_or((wanted, None), |(least, most)| (least, Some(most)));
    let mut script = format!("set(PACKAGE_FIND_VERSION {least})\n");
    let names = ["MAJOR", "MINOR", "PATCH"];
    for (at, name) in names.into_iter().enumerate() {
        script += &format!("set(PACKAGE_FIND_VERSION_{name} {})\n", least.split('.').nth(at).unwrap_or("0"));
    }
    if let Some(most) = most {
        let end = if most.starts_with('<') { "EXCLUDE" } else { "INCLUDE" };
        let most = most.trim_start_matches('<');
        script += &format!("set(PACKAGE_FIND_VERSION_RANGE {wanted})\nset(PACKAGE_FIND_VERSION_RANGE_MAX {end})\n");
        script += &format!("set(PACKAGE_FIND_VERSION_MIN {least})\nset(PACKAGE_FIND_VERSION_MAX {most})\n");
    }
    let file = below.join("lib/cmake/ingest/ingestConfigVersion.cmake");
    script += &format!("include({})\n", file.display());
    script + "if(PACKAGE_VERSION_EXACT)\n  set(exact \" EXACT\")\nendif()\nmessage(\"${PACKAGE_VERSION_COMPATIBLE}${exact}\")\n"
}

/// The global names that a static library defines.
fn global_names(library: &Path) -> Vec<String> {
    let listed = tool(Command::new("nm").args(["--defined-only", "--extern-only", "--format=posix"]).arg(library));
    let lines = listed.lines().filter(|line| line.contains(' '));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_string).collect()
}

#[test]
fn the_static_library_has_no_global_name_of_another() {
    let (_, below) = staged("names", "/opt/libingest", &[]);
    let mut names = global_names(&below.join("lib/libingest.a"));
    names.sort();
    let ledger = read(&root().join("tests/symbols.txt"));
    let lines = ledger.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut expected: Vec<String> = lines.filter_map(|line| line.split(' ').next()).map(str::to_string).collect();
    expected.sort();
    assert_eq!(names, expected, "left is libingest.a, right is tests/symbols.txt");
}

/// Starts a server that has a certificate, and ends it; linked twice, with a libingest of its own each time.
const TWICE: &str = r#"
#include <ingest.h>
#include <stdio.h>
#include <stdlib.h>
int PLACE(ingest_server **server) {
    ingest_error error = {0};
    ingest_options *options = ingest_options_new();
    ingest_options_set(options, "tls.cert", getenv("CERT"), &error);
    ingest_options_set(options, "tls.key", getenv("KEY"), &error);
    *server = ingest_server_new(options);
    ingest_options_free(options);
    if (ingest_server_listen(*server, "https://127.0.0.1:0", NULL, &error) < 0 || ingest_server_start(*server, &error) != INGEST_OK)
        return fprintf(stderr, "%s\n", error.text);
    return ingest_server_port(*server, 0) > 0 ? 0 : 1;
}
void END(ingest_server *server) { ingest_server_free(server); }
"#;

const BOTH: &str = "typedef struct ingest_server server;\nint first(server **), second(server **);\nvoid first_end(server *), second_end(server *);\n\
    int main(void) {\n    server *one, *two;\n    if (first(&one) || second(&two))\n        return 1;\n    first_end(one);\n    second_end(two);\n    \
    return 0;\n}\n";

#[test]
fn two_copies_of_the_library_live_in_one_program() {
    let prefix = installed("twice");
    let folder = prefix.parent().expect("it has a parent");
    let library = prefix.join("lib/libingest.a");
    // The second copy answers to other names, as if it were of another version.
    let map: String = global_names(&library).iter().map(|name| format!("{name} other_{name}\n")).collect();
    for (name, text) in [("map", map.as_str()), ("twice.c", TWICE), ("both.c", BOTH)] {
        std::fs::write(folder.join(name), text).expect("the temporary folder can be written");
    }
    let script = "cc -Iprefix/include -DPLACE=first -DEND=first_end -c twice.c -o first.o
        cc -Iprefix/include -DPLACE=second -DEND=second_end -c twice.c -o second.o
        objcopy --redefine-syms=map second.o
        objcopy --redefine-syms=map prefix/lib/libingest.a other.a
        cc both.c first.o second.o prefix/lib/libingest.a other.a -lpthread -ldl -lm -o both
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out cert.pem
        CERT=cert.pem KEY=key.pem ./both";
    tool(Command::new("sh").args(["-e", "-c", script]).current_dir(folder));
}

#[test]
fn the_static_library_names_what_rust_needs() {
    let folder = folder("private");
    let source = folder.join("nothing.rs");
    std::fs::write(&source, "").expect("the temporary folder can be written");
    let ended = run(Command::new("rustc")
        .args(["--crate-type", "staticlib", "--print", "native-static-libs", "--out-dir"])
        .arg(&folder)
        .arg(&source));
    let needed = ended.stderr.lines().find_map(|line| line.split_once("native-static-libs: ")).expect("rustc says what it needs").1;
    let makefile = read(&root().join("Makefile"));
    let listed = makefile.lines().find_map(|line| line.strip_prefix("PRIVATE_LIBRARIES := ")).expect("the Makefile has the line");
    let listed: Vec<&str> = listed.split_whitespace().collect();
    for name in needed.split_whitespace() {
        // These two come with every C compiler, in the form that suits its way to link.
        assert!(["-lgcc_s", "-lc"].contains(&name) || listed.contains(&name), "PRIVATE_LIBRARIES of the Makefile lacks {name}");
    }
}

/// The value of a key in one section of Cargo.toml.
fn manifest(section: &str, key: &str) -> Option<String> {
    let text = read(&root().join("Cargo.toml"));
    let lines = text.lines().skip_while(|line| *line != format!("[{section}]")).skip(1).take_while(|line| !line.starts_with('['));
    let mut pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_string())
}

/// cargo-c names a library after its version, without what may change under the same interface: `0.0.PATCH`, `0.MINOR` or `MAJOR`, if
/// `version_suffix_components` does not say how many numbers it is to be.
fn soname_of_cargo_c() -> String {
    let library = |key| manifest("package.metadata.capi.library", key);
    let name = library("name").expect("the library has a name");
    if library("versioning").is_some_and(|value| value == "false") {
        return format!("lib{name}.so");
    }
    let version = library("version").unwrap_or_else(|| VERSION.to_string());
    let numbers: Vec<&str> = version.split('.').collect();
    let by_the_version = numbers.iter().position(|number| *number != "0").unwrap_or(2) + 1;
    let count = library("version_suffix_components").map_or(by_the_version, |count| count.parse().expect("a number"));
    format!("lib{name}.so.{}", numbers[..count].join("."))
}

#[test]
fn cargo_c_gives_the_same_names() {
    let (_, below) = staged("cargo-c", "/opt/libingest", &[]);
    // What the linker wrote is what build.rs told it.
    let dynamic = tool(Command::new("readelf").args(["-d", "-W"]).arg(shared_file(&below.join("lib"))));
    let soname = dynamic.lines().find(|line| line.contains("(SONAME)")).and_then(|line| line.split(['[', ']']).nth(1));
    assert_eq!(soname, Some(soname_of_cargo_c().as_str()), "left is build.rs, right is [package.metadata.capi.library] of Cargo.toml");
    assert_eq!(manifest("package.metadata.capi.header", "generation").as_deref(), Some("false"), "the header is the committed one");
    assert_eq!(manifest("package.metadata.capi.header", "subdirectory").as_deref(), Some("false"), "it is #include <ingest.h>");
    let asset = manifest("package.metadata.capi.install.include", "asset");
    assert_eq!(asset.as_deref(), Some("[{ from = \"include/ingest.h\", to = \"\" }]"));
    let pc = read(&below.join("lib/pkgconfig/ingest.pc"));
    for (key, line) in [("name", "Name: "), ("description", "Description: ")] {
        let ours = pc.lines().find_map(|text| text.strip_prefix(line));
        assert_eq!(manifest("package.metadata.capi.pkg_config", key).as_deref(), ours, "ingest.pc, {line}");
    }
    assert_eq!(manifest("package.metadata.capi.pkg_config", "filename").as_deref(), Some("ingest"));
}
