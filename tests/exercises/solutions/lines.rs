use crate::lines::{Line, MAX_KEPT};
use std::io::{self, BufRead};

/// Consumes the source's buffer piece by piece. It keeps the bytes that still fit, and counts all.
pub(crate) fn next_line(source: &mut dyn BufRead) -> io::Result<Option<Line>> {
    let (mut kept, mut length, mut last) = (Vec::new(), 0, None);
    let mut has_ended = false;
    while !has_ended {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        length += piece.len();
        kept.extend(piece.iter().take(MAX_KEPT - kept.len()));
        last = piece.last().copied().or(last);
        has_ended = end.is_some();
        let taken = piece.len() + usize::from(has_ended);
        source.consume(taken);
    }
    if length == 0 && !has_ended {
        return Ok(None);
    }
    // Only a CR directly before the LF belongs to the line end, so it is removed here.
    if has_ended && last == Some(b'\r') {
        length -= 1;
        kept.truncate(length);
    }
    if length > kept.len() {
        drop_half_character(&mut kept);
    }
    Ok(Some(Line {
        text: String::from_utf8_lossy(&kept).into_owned(),
        left_out: length - kept.len(),
    }))
}

/// Removes an incomplete character from the end of these bytes.
fn drop_half_character(bytes: &mut Vec<u8>) {
    let incomplete =
        bytes
            .utf8_chunks()
            .last()
            .map_or(0, |chunk| match str::from_utf8(chunk.invalid()) {
                Err(e) if e.error_len().is_none() => chunk.invalid().len(),
                _ => 0,
            });
    bytes.truncate(bytes.len() - incomplete);
}
