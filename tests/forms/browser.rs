//! Forms that headless Chromium submits, as a page tells it to: fields and files arrive octet for octet.

use super::support::host::{Delivery, Server, on_requests};
use super::support::{PATIENCE, eventually};
use super::view::{Seen, watching};
use ingest::status::INGEST_OK;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// File names that a page can give. Of a name with a slash browsers send the last piece, so none has one.
const NAMES: [&str; 4] = ["plain.bin", "sp ace;semi.bin", "quo\"te.bin", "\u{fc}n\u{ef}.bin"];

/// A page that fills a form, files included, and submits it.
fn page(kind: &str) -> String {
    let names = NAMES.map(|name| format!("{name:?}")).join(",");
    format!(
        "<!doctype html><meta charset=utf-8><form method=post enctype={kind} accept-charset=utf-8><input name='t\u{e9}xt &='><textarea name=area></textarea></form><script>
const form = document.forms[0];
form.elements[0].value = 'v\u{e4}lue +%41';
form.elements[1].value = 'two\\nlines';
if (form.enctype === 'multipart/form-data') [{names}].forEach((name, index) => {{
  const input = Object.assign(document.createElement('input'), {{ type: 'file', name: 'file' + index }});
  const content = Uint8Array.from({{ length: 256 * 300 * index + 2 }}, (_, at) => at % 3 ? at : at % 256 < 128 ? 13 : 10);
  const transfer = new DataTransfer();
  transfer.items.add(new File([content], name, {{ type: 'application/x-test' }}));
  input.files = transfer.files;
  form.append(input);
}});
form.submit();
</script>"
    )
}

fn content(index: usize) -> Vec<u8> {
    let octet = |at: usize| {
        if at % 3 > 0 {
            at as u8
        } else if at % 256 < 128 {
            13
        } else {
            10
        }
    };
    (0..256 * 300 * index + 2).map(octet).collect()
}

struct Browser(Child);

impl Browser {
    fn open(url: &str) -> Browser {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forms-chromium");
        let mut command = Command::new("chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server"]);
        command.args(["--remote-debugging-port=0", &format!("--user-data-dir={}", profile.display()), url]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Browser(child.unwrap_or_else(|error| panic!("cannot start chromium: {error} (tests/run installs it)")))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own children end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What arrived when the browser was shown a page with a form of this kind.
fn submitted(kind: &'static str) -> super::Contents {
    let seen = Seen::default();
    let watch = watching(&seen);
    let pages =
        on_requests(move |host, request| assert_eq!(host.bytes(request.0.token, 200, "text/html", page(kind).as_bytes()), INGEST_OK));
    let server = Server::serve(
        &[],
        Delivery::Queue(1),
        std::sync::Arc::new(move |host, event| {
            let is_post = super::support::request_view::RequestView::of(event).is_some_and(|request| request.method() == b"POST");
            if is_post { watch(host, event) } else { pages(host, event) }
        }),
    );
    let browser = Browser::open(&format!("http://127.0.0.1:{}/", server.port()));
    // A browser takes its time to start on a busy machine.
    let mut left = 6;
    while seen.is_empty() && left > 0 {
        left -= usize::from(!eventually(|| !seen.is_empty()));
    }
    assert!(!seen.is_empty(), "chromium submitted nothing within {:?}", 6 * PATIENCE);
    drop(browser);
    server.finish();
    seen.take()
}

#[test]
fn chromium_submits_forms_and_files() {
    let form = submitted("application/x-www-form-urlencoded").form_text().expect("a form");
    let field = ("t\u{e9}xt &=".to_owned(), "v\u{e4}lue +%41".to_owned());
    assert_eq!(form, [field.clone(), ("area".to_owned(), "two\r\nlines".to_owned())]);

    let parts = submitted("multipart/form-data").parts.expect("parts");
    assert_eq!(parts.len(), 2 + NAMES.len());
    assert_eq!((parts[0].name.as_slice(), parts[0].body.as_slice()), (field.0.as_bytes(), field.1.as_bytes()));
    assert_eq!((parts[1].name.as_slice(), parts[1].body.as_slice()), (b"area".as_slice(), b"two\r\nlines".as_slice()));
    for (index, part) in parts[2..].iter().enumerate() {
        assert_eq!(part.name, format!("file{index}").as_bytes());
        assert_eq!(part.filename.as_deref(), Some(NAMES[index].as_bytes()));
        assert_eq!(part.content_type.as_deref(), Some(b"application/x-test".as_slice()));
        assert!(part.body == content(index), "the content of {}", NAMES[index]);
    }
}
