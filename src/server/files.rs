//! The files that the options of TLS name: where they are, what they hold, and how to see that one has changed.
#![forbid(unsafe_code)]

use crate::decrypt::keys::Named;
use crate::status::{Failure, INGEST_E_TLS};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path;

/// No file of certificates is larger; whoever names another one by mistake hears of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A text in PEM, as opposed to the name of a file.
const PEM_BEGIN: &str = "-----BEGIN";
/// Of a file's name, in an error; its end says more than its beginning.
const SHOWN_MAX: usize = 100;

/// What tells a file from the one that was there before: device, inode, size, and when its content and its entry were changed. The last hears of
/// permissions, too, and of an old date that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark([u64; 3], [(i64, i64); 2]);

/// One for each file; `None` for a file that cannot be seen.
pub(super) type Marks = Vec<Option<Mark>>;

/// Looks at what the names lead to, through every link: a folder of links that is exchanged at once, as Kubernetes does it, is seen so.
pub(super) fn look(files: &[String]) -> Marks {
    let mark = |file: fs::Metadata| {
        Mark([file.dev(), file.ino(), file.size()], [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())])
    };
    files.iter().map(|path| fs::metadata(path).ok().map(mark)).collect()
}

/// The same file, wherever this process goes.
pub(super) fn absolute(entry: &str) -> String {
    if entry.is_empty() || entry.starts_with(PEM_BEGIN) {
        return entry.to_owned();
    }
    let absolute = path::absolute(entry).ok().and_then(|path| path.into_os_string().into_string().ok());
    absolute.unwrap_or_else(|| entry.to_owned())
}

/// What an option names: files with commas between, or texts in PEM, which have none in them.
pub(super) fn listed(option: &str, value: &str) -> Result<Vec<Named>, Failure> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| if entry.starts_with(PEM_BEGIN) { Ok(pem(option, entry)) } else { read(option, entry) }).collect()
}

/// What `tls.ocsp` names: an entry may be empty, and then there is none for that certificate.
pub(super) fn staples(value: &str) -> Result<Vec<Option<Named>>, Failure> {
    if value.trim().is_empty() {
        return Ok(Vec::new());
    }
    let entries = value.split(',').map(str::trim);
    entries.map(|entry| if entry.is_empty() { Ok(None) } else { read("tls.ocsp", entry).map(Some) }).collect()
}

fn pem(option: &str, text: &str) -> Named {
    Named { name: option.to_owned(), octets: text.as_bytes().to_vec() }
}

/// Reads a file whole.
pub(super) fn read(option: &str, path: &str) -> Result<Named, Failure> {
    let shown = shown(path);
    let failed = |error: io::Error| {
        let text = format!("cannot read {option} {shown}: {error} (name a file that can be read)");
        Failure { status: INGEST_E_TLS, ..Failure::system(&error, text) }
    };
    let mut octets = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(INGEST_E_TLS, format!("{option} {shown} is larger than 1 MiB (is it the right file?)")));
    }
    Ok(Named { name: format!("{option} {shown}"), octets })
}

fn shown(path: &str) -> String {
    let characters = path.chars().filter(|character| !character.is_control());
    let extra = characters.clone().count().saturating_sub(SHOWN_MAX);
    if extra == 0 {
        characters.collect()
    } else {
        ["..."].into_iter().map(str::to_owned).chain([characters.skip(extra).collect()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_absolute_and_texts_stay() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("a/b.pem"), here.join("a/b.pem").to_str().unwrap());
        assert_eq!((absolute("/a/b.pem"), absolute("")), ("/a/b.pem".to_owned(), String::new()));
        assert_eq!(absolute("-----BEGIN X"), "-----BEGIN X");
    }

    #[test]
    fn a_long_name_shows_its_end() {
        assert_eq!(shown("/a\n/b"), "/a/b");
        let long = shown(&format!("/{}/cert.pem", "x".repeat(200)));
        assert!(long.starts_with("...x") && long.ends_with("/cert.pem") && long.len() == SHOWN_MAX + 3, "{long}");
    }

    #[test]
    fn an_entry_without_a_file_has_no_staple() {
        assert!(staples("").unwrap().is_empty());
        assert_eq!(staples(",").unwrap().iter().filter(|entry| entry.is_none()).count(), 2);
        assert!(staples(",/nowhere/at/all").is_err_and(|failure| failure.text.starts_with("cannot read tls.ocsp /nowhere/at/all: ")));
    }
}
