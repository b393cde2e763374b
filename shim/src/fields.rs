//! The few messages of a task service, field by field
//! (<https://github.com/containerd/containerd/blob/main/api/runtime/task/v3/shim.proto>; version 2 has the same ones).
#![forbid(unsafe_code)]

use protobuf::rt::skip_field_for_tag;
use protobuf::{CodedInputStream, CodedOutputStream};

/// One field's value. What is empty, zero or false is not sent: that is what its absence means.
pub(crate) enum Value<'a> {
    Text(&'a str),
    Number(u32),
    Flag(bool),
}

/// A message of these fields, by number.
pub(crate) fn message(fields: &[(u32, Value<'_>)]) -> protobuf::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = CodedOutputStream::vec(&mut bytes);
    for (number, value) in fields {
        match value {
            Value::Text("") | Value::Number(0) | Value::Flag(false) => {}
            Value::Text(text) => stream.write_string(*number, text)?,
            Value::Number(value) => stream.write_uint32(*number, *value)?,
            Value::Flag(value) => stream.write_bool(*number, *value)?,
        }
    }
    stream.flush()?;
    drop(stream);
    Ok(bytes)
}

/// The number in field 1, which every answer that is read here has its process in: `CreateTaskResponse`, `StartResponse`.
pub(crate) fn first_number(message: &[u8]) -> protobuf::Result<u32> {
    /// Field 1, a varint (<https://protobuf.dev/programming-guides/encoding/>).
    const FIRST: u32 = 1 << 3;
    let mut stream = CodedInputStream::from_bytes(message);
    let mut found = 0;
    while let Some(tag) = stream.read_raw_tag_or_eof()? {
        if tag == FIRST {
            found = stream.read_uint32()?;
        } else {
            skip_field_for_tag(tag, &mut stream)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `protoc --encode` has it: id "a", bundle "/b", terminal left out, stdin "/i", stdout "/o".
    #[test]
    fn a_message_is_what_protobufs_own_compiler_makes_of_it() {
        let fields = [
            (1, Value::Text("a")),
            (2, Value::Text("/b")),
            (4, Value::Flag(false)),
            (5, Value::Text("/i")),
            (6, Value::Text("/o")),
        ];
        let expected =
            [&[0x0a, 1, b'a', 0x12, 2, b'/', b'b'][..], &[0x2a, 2, b'/', b'i', 0x32, 2, b'/', b'o']].concat();
        assert_eq!(message(&fields).unwrap(), expected);
        let kill =
            [(1, Value::Text("a")), (2, Value::Text("")), (3, Value::Number(9)), (4, Value::Flag(true))];
        assert_eq!(message(&kill).unwrap(), [0x0a, 1, b'a', 0x18, 9, 0x20, 1]);
    }

    #[test]
    fn a_process_is_found_among_other_fields() {
        // DeleteResponse: pid 300, exit status 137, a time of seconds 1.
        let delete = [0x08, 0xac, 0x02, 0x10, 0x89, 0x01, 0x1a, 2, 0x08, 1];
        assert_eq!(first_number(&delete).unwrap(), 300);
        assert_eq!(first_number(&delete[3..]).unwrap(), 0);
        assert_eq!(first_number(&[]).unwrap(), 0);
        assert!(first_number(&[0x08]).is_err());
        assert!(first_number(&[0x0a, 200, 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = first_number(&bytes);
        }

        #[test]
        fn a_number_that_was_written_is_read(number in 1u32..) {
            prop_assert_eq!(first_number(&message(&[(1, Value::Number(number))]).unwrap()).unwrap(), number);
        }
    }
}
