//! Bytes without their zeros: half of an entry's are, for most numbers in it are small.
//!
//! It is the packing of Cap'n Proto (<https://capnproto.org/encoding.html#packing>). Eight bytes
//! become a tag, whose bits say which of them are not zero, and those. After the tag 0x00 comes
//! how many more words of zeros follow; after the eight bytes of the tag 0xff, how many words
//! follow as they are: as long as none has two zeros or more. The last word is filled up with zeros.

/// Bytes of a word.
const WORD: usize = 8;
/// Words that a tag may have follow.
const FOLLOWING_MAX: usize = 255;
/// Bytes that are unpacked at the most: far more than any entry has.
const UNPACKED_MAX: usize = 64 << 20;

/// Packs bytes, behind what is in `into` already.
pub(crate) fn pack(bytes: &[u8], into: &mut Vec<u8>) {
    let mut words = bytes.chunks(WORD).map(word);
    let mut next = words.next();
    while let Some(word) = next {
        next = words.next();
        let tag = (0..WORD).fold(0_u8, |tag, at| tag | (u8::from(word[at] != 0) << at));
        into.push(tag);
        into.extend(word.iter().filter(|byte| **byte != 0));
        let follows = |next: &[u8; WORD]| match tag {
            0x00 => *next == [0; WORD],
            0xff => {
                next.iter()
                    .map(|byte| usize::from(*byte == 0))
                    .sum::<usize>()
                    < 2
            }
            _ => false,
        };
        if tag != 0x00 && tag != 0xff {
            continue;
        }
        let count = into.len();
        into.push(0);
        while let Some(more) =
            next.filter(|next| follows(next) && usize::from(into[count]) < FOLLOWING_MAX)
        {
            into[count] += 1;
            if tag == 0xff {
                into.extend(more);
            }
            next = words.next();
        }
    }
}

/// A word, filled up with zeros.
fn word(bytes: &[u8]) -> [u8; WORD] {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    word
}

/// What was packed, filled up with zeros to whole words; `None` for what is no packing, or of
/// too much.
pub(crate) fn unpack(mut packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(packed.len() * 2);
    while let Some((tag, rest)) = packed.split_first() {
        packed = rest;
        for at in 0..WORD {
            let mut byte = 0;
            if tag & (1 << at) != 0 {
                let (first, rest) = packed.split_first()?;
                (byte, packed) = (*first, rest);
            }
            bytes.push(byte);
        }
        if *tag == 0x00 || *tag == 0xff {
            let (count, rest) = packed.split_first()?;
            packed = rest;
            let more = usize::from(*count) * WORD;
            if *tag == 0x00 {
                bytes.resize(bytes.len() + more, 0);
            } else {
                let (words, rest) = packed.split_at_checked(more)?;
                bytes.extend(words);
                packed = rest;
            }
        }
        if bytes.len() > UNPACKED_MAX {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        pack(bytes, &mut packed);
        packed
    }

    /// The examples that Cap'n Proto publishes.
    #[test]
    fn words_are_packed_as_published() {
        for (bytes, expected) in [
            (&[][..], &[][..]),
            (&[0; 8], &[0, 0]),
            (&[0, 0, 12, 0, 0, 34, 0, 0], &[0x24, 12, 34]),
            (
                &[1, 3, 2, 4, 5, 7, 6, 8],
                &[0xff, 1, 3, 2, 4, 5, 7, 6, 8, 0],
            ),
            (
                &[0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 2, 4, 5, 7, 6, 8],
                &[0, 0, 0xff, 1, 3, 2, 4, 5, 7, 6, 8, 0],
            ),
            (
                &[0, 0, 12, 0, 0, 34, 0, 0, 1, 3, 2, 4, 5, 7, 6, 8],
                &[0x24, 12, 34, 0xff, 1, 3, 2, 4, 5, 7, 6, 8, 0],
            ),
            (
                &[1, 3, 2, 4, 5, 7, 6, 8, 8, 6, 7, 4, 5, 2, 3, 1],
                &[0xff, 1, 3, 2, 4, 5, 7, 6, 8, 1, 8, 6, 7, 4, 5, 2, 3, 1],
            ),
            (
                &[
                    8, 0, 100, 6, 0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 1,
                ],
                &[0xed, 8, 100, 6, 1, 1, 2, 0, 0, 0xd4, 1, 2, 3, 1],
            ),
        ] {
            assert_eq!(packed(bytes), expected, "{bytes:?}");
        }
        assert_eq!(packed(&[0; 8 * 257]), [0, 255, 0, 0]);
        // What is no whole word is filled up.
        assert_eq!(packed(&[0, 7]), [0x02, 7]);
    }

    #[test]
    fn what_is_no_packing_is_told() {
        for wrong in [
            &[0x01][..],
            &[0x00],
            &[0xff, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xff; 9],
        ] {
            assert_eq!(unpack(wrong), None, "{wrong:?}");
        }
        // A small thing does not become a huge one.
        assert_eq!(unpack(&[0, 255].repeat(1 << 16)), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(0), 2 => any::<u8>()], 0..700),
        ) {
            let mut expected = bytes.clone();
            expected.resize(bytes.len().next_multiple_of(WORD), 0);
            prop_assert_eq!(unpack(&packed(&bytes)), Some(expected));
        }
    }
}
