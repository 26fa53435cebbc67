//! The names of members as paths below a directory. They come from the archive, and none is
//! trusted.

/// Whether a name is that of a scratch directory of this program.
pub fn is_scratch_name(name: &[u8]) -> bool {
    let Some(at) = memchr::memmem::rfind(name, b"dbbackup-") else {
        return false;
    };
    let rest = &name[at + b"dbbackup-".len()..];
    let rest = rest
        .strip_prefix(b"tree-")
        .or_else(|| rest.strip_prefix(b"to-"))
        .unwrap_or(rest);
    rest.len() == 32 && rest.iter().all(u8::is_ascii_hexdigit)
}

/// The names of a path, one after another. A first slash means nothing; a way up is refused.
pub fn components(path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name leads upwards".into()),
            part if part.contains(&0) => return Err("its name holds a NUL".into()),
            part => parts.push(part.to_vec()),
        }
    }
    Ok(parts)
}
