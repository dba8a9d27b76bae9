//! Names the shared library: `libingest.so.0.MINOR` before 1.0, so that two incompatible releases can live side by side.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_PKG_VERSION");
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets the version");
    let minor = std::env::var("CARGO_PKG_VERSION_MINOR").expect("cargo sets the version");
    let soname = if major == "0" { format!("libingest.so.0.{minor}") } else { format!("libingest.so.{major}") };
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    // A host may dlclose() us while our threads run: the library stays mapped (design, section 10).
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Every symbol must be found when the library is loaded, not in the middle of a request.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
}
