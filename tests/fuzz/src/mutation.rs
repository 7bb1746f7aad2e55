//! Makes an input from another: a few small changes, by bytes, by numbers and by the words that inputs are made of.

use crate::random::Random;

/// What inputs are made of: names, brackets, magic numbers.
pub type Words<'a> = &'a [&'a [u8]];

/// Numbers at which things break.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    16,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    511,
    512,
    1023,
    1024,
    4095,
    4096,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 53,
    (1 << 53) + 1,
    u64::MAX >> 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Another input, of at most `longest` bytes. `other` is one to take parts of.
pub(crate) fn mutated(
    input: &[u8],
    other: &[u8],
    words: Words<'_>,
    longest: usize,
    random: &mut Random,
) -> Vec<u8> {
    let mut bytes = input.to_vec();
    // Mostly few changes: many at once seldom leave an input valid enough to get far.
    let changes = 1 << random.below(5);
    for _ in 0..changes {
        change(&mut bytes, other, words, random);
        bytes.truncate(longest);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: Words<'_>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(14) {
        0 => with(bytes, at, |byte, random| *byte ^= 1 << random.below(8), random),
        1 => with(bytes, at, |byte, random| *byte = random.next() as u8, random),
        2 => with(
            bytes,
            at,
            |byte, random| *byte = byte.wrapping_add(random.below(9) as u8).wrapping_sub(4),
            random,
        ),
        3 => insert(bytes, at, &[random.next() as u8]),
        4 => {
            let end = end_of(bytes, at, random);
            bytes.drain(at..end);
        }
        5 => {
            let piece = bytes[at..end_of(bytes, at, random)].to_vec();
            let to = random.below(bytes.len() + 1);
            // Once, or many times over: what nests, nests deep.
            let times = 1 << random.below(if piece.len() < 16 { 8 } else { 2 });
            insert(bytes, to, &piece.repeat(times));
        }
        6 | 7 => {
            let word = random.of(words).copied().unwrap_or_default();
            insert(bytes, random.below(bytes.len() + 1), word);
        }
        8 => {
            let word = random.of(words).copied().unwrap_or_default();
            overwrite(bytes, at, word);
        }
        9 => {
            let number = number(random);
            let width = 1 << random.below(4);
            overwrite(bytes, at, &number.to_le_bytes()[..width]);
        }
        10 => decimal(bytes, at, random),
        11 => {
            let from = random.below(other.len());
            let piece = &other[from..end_of(other, from, random)];
            insert(bytes, at, piece);
        }
        12 => {
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => bytes.truncate(at),
    }
}

fn with(bytes: &mut [u8], at: usize, act: impl Fn(&mut u8, &mut Random), random: &mut Random) {
    if let Some(byte) = bytes.get_mut(at) {
        act(byte, random);
    }
}

/// The end of a piece that begins at `at`: mostly a short one.
fn end_of(bytes: &[u8], at: usize, random: &mut Random) -> usize {
    let most = bytes.len() - at.min(bytes.len());
    let length = if random.below(4) == 0 { random.below(most + 1) } else { random.below(most.min(16) + 1) };
    at.min(bytes.len()) + length
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, piece.iter().copied());
}

fn overwrite(bytes: &mut [u8], at: usize, piece: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(piece) {
        *byte = *new;
    }
}

fn number(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => random.next(),
        1 => random.below(300) as u64,
        _ => random.of(NUMBERS).copied().unwrap_or_default(),
    }
}

/// Puts another number in the place of the decimal one around `at`, or a new one there.
fn decimal(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut start, mut end) = (at.min(bytes.len()), at.min(bytes.len()));
    while start > 0 && is_digit(start - 1) {
        start -= 1;
    }
    while is_digit(end) {
        end += 1;
    }
    let sign = if random.below(8) == 0 { "-" } else { "" };
    let number = format!("{sign}{}", number(random));
    bytes.splice(start..end, number.into_bytes());
}
