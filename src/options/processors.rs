//! Which processors threads are pinned to: what the option `io_threads.cpus` comes to.
#![forbid(unsafe_code)]

use super::values::shown;

/// The highest number that an affinity mask of the C library can hold.
const HIGHEST: u16 = 1023;

/// Numbers and ranges with commas between, as in `0-3,8`, in the order in which threads take them; nothing at all is no processor.
pub fn parse(text: &str) -> Result<Vec<u16>, String> {
    let mut processors = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, part)?, number(last, part)?);
        if first > last {
            return Err(format!("the range {} ends before it begins (write {last}-{first})", shown(part)));
        }
        for processor in first..=last {
            if processors.contains(&processor) {
                return Err(format!("processor {processor} is named twice (name each once)"));
            }
            processors.push(processor);
        }
    }
    Ok(processors)
}

fn number(text: &str, part: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let wrong = || format!("{} is no processor (write numbers from 0 to {HIGHEST} and ranges, as in 0-3,8)", shown(part));
    text.parse().ok().filter(|number| digits && *number <= HIGHEST).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_and_ranges_are_read_in_their_order() {
        for (text, expected) in
            [("", &[][..]), (" ", &[]), ("5", &[5]), ("0-3,8", &[0, 1, 2, 3, 8]), ("9, 2-2", &[9, 2]), ("1023", &[1023])]
        {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_names_no_processor_is_refused() {
        for (text, why) in [
            ("1024", "1024 is no processor"),
            ("0-99999", "0-99999 is no processor"),
            ("a", "a is no processor"),
            ("+1", "+1 is no processor"),
            ("-1", "-1 is no processor"),
            ("1-", "1- is no processor"),
            ("1,,2", "is no processor"),
            ("1,", "is no processor"),
            ("3-1", "ends before it begins (write 1-3)"),
            ("0-3,2", "processor 2 is named twice"),
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
