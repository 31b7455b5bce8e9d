//! Names that a store can't hold.

/// Longest name of a blob, in characters as Azure counts them.
const MAX_BLOB_CHARS: usize = 1_024;
/// Most parts between the slashes of a blob's name.
const MAX_BLOB_PARTS: usize = 254;

/// Says why Azure would refuse a blob's whole name, its prefix included, or take it for another one.
///
/// # Errors
/// The reason, as the end of a sentence.
pub fn check_blob_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.encode_utf16().count() > MAX_BLOB_CHARS {
        return Err("with what stands before it the name has more than 1,024 characters");
    }
    if name
        .chars()
        .any(|c| c.is_control() || c == '\u{fffe}' || c == '\u{ffff}')
    {
        return Err("the name has control characters");
    }
    if name.contains('\\') {
        return Err(r"the name has a \, which Azure takes for a /");
    }
    if name.ends_with('/') {
        return Err("the name ends with a slash");
    }
    let mut parts = 0;
    for part in name.split('/') {
        parts += 1;
        match part {
            "" => return Err("a part of the name is empty"),
            "." | ".." => return Err("the name has a part . or .."),
            part if part.ends_with('.') => {
                return Err("a part of the name ends with a dot, which Azure takes away");
            }
            _ => {}
        }
    }
    if parts > MAX_BLOB_PARTS {
        return Err("the name has more than 254 parts");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_azure_refuses_or_changes_is_told_before() {
        for good in [
            "a",
            "a b/100%/é.txt",
            "路径/ファイル",
            ".hidden/x",
            "a..b",
            "a?b#c&d+e",
        ] {
            assert_eq!(check_blob_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(1_025);
        let deep = vec!["a"; 255].join("/");
        for bad in [
            "", "a/", "a.", "a./b", "a//b", "../a", "a\nb", "a\u{7f}", "a\\", &long, &deep,
        ] {
            assert!(check_blob_name(bad).is_err(), "{bad:?}");
        }
    }
}
