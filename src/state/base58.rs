//! Base58 of short byte strings, several digits at a time: writing and reading the peers of a
//! snapshot is mostly this.

/// Longest input, in bytes; a peer id of the usual kind has 38.
pub(super) const BYTES_MAX: usize = 40;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 58 to the fifth: the largest power whose product with a 32-bit word fits in 64 bits.
const LIMB: u64 = 656_356_768;
/// Limbs that hold any [`BYTES_MAX`] bytes.
const LIMBS: usize = 11;

/// 32-bit words of the input.
const WORDS_32: usize = BYTES_MAX / 4;
/// Words whose products with limbs can be summed up in 64 bits, and one limb besides.
const SUMMED: usize = WORDS_32 / 2;
/// Digits in a limb.
const LIMB_DIGITS: usize = 5;
/// Numbers of two digits, and their digits.
const PAIRS: usize = 58 * 58;
static DIGITS: [[u8; 2]; PAIRS] = pairs();
/// The limbs of each word's weight, those of the first word first, the lowest limb first.
const WEIGHTS: [[u64; LIMBS]; WORDS_32] = weights();

/// Appends the base58 text of at most [`BYTES_MAX`] bytes; false, and nothing appended, for more.
pub(super) fn push(bytes: &[u8], text: &mut Vec<u8>) -> bool {
    let mut padded = [0; BYTES_MAX];
    let start = BYTES_MAX.checked_sub(bytes.len());
    let Some((_, end)) = start.and_then(|start| padded.split_at_mut_checked(start)) else {
        return false;
    };
    end.copy_from_slice(bytes);
    // The number in base `LIMB`, the lowest limb first.
    let mut limbs = [0_u64; LIMBS];
    for (words, weights) in padded.chunks_exact(4 * SUMMED).zip(WEIGHTS.chunks_exact(SUMMED)) {
        for (word, weight) in words.chunks_exact(4).zip(weights) {
            let word = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            for (limb, weight) in limbs.iter_mut().zip(weight) {
                *limb += word * weight;
            }
        }
        let mut carry = 0;
        for limb in &mut limbs {
            let sum = *limb + carry;
            (*limb, carry) = (sum % LIMB, sum / LIMB);
        }
    }
    let mut digits = [0_u8; LIMBS * LIMB_DIGITS];
    for (digits, limb) in digits.chunks_exact_mut(LIMB_DIGITS).rev().zip(limbs) {
        let limb = usize::try_from(limb).unwrap_or_default();
        let (first, rest) = (limb / (PAIRS * PAIRS), limb % (PAIRS * PAIRS));
        let pair = |pair: usize| DIGITS.get(pair).copied().unwrap_or_default();
        let ([_, a], [b, c], [d, e]) = (pair(first), pair(rest / PAIRS), pair(rest % PAIRS));
        digits.copy_from_slice(&[a, b, c, d, e]);
    }
    text.extend(bytes.iter().take_while(|byte| **byte == 0).map(|_| b'1'));
    let zeros = digits.iter().take_while(|digit| **digit == b'1').count();
    text.extend_from_slice(digits.get(zeros..).unwrap_or_default());
    true
}

/// The base58 text of at most [`BYTES_MAX`] bytes; `None` for more.
pub(super) fn encode(bytes: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(bytes.len() * 7 / 5 + 1);
    if push(bytes, &mut text) { String::from_utf8(text).ok() } else { None }
}

/// Digits whose number fits in 64 bits.
const GROUP: usize = 10;
/// 64-bit words that hold [`BYTES_MAX`] bytes.
const WORDS: usize = BYTES_MAX / 8;
/// No digit.
const NONE: u8 = u8::MAX;
/// The value of each byte as a digit.
const VALUES: [u8; 256] = values();

/// Bytes that base58 text stands for, at most [`BYTES_MAX`].
pub(super) struct Decoded {
    padded: [u8; BYTES_MAX],
    start: usize,
}

impl Decoded {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.padded.get(self.start..).unwrap_or_default()
    }
}

/// The bytes that base58 text stands for; `None` if it is no such text, or one of more than
/// [`BYTES_MAX`] bytes.
pub(super) fn decode(digits: &[u8]) -> Option<Decoded> {
    let zeros = digits.iter().take_while(|digit| **digit == b'1').count();
    // The number in base 2^64, the lowest word first.
    let mut words = [0_u64; WORDS];
    for (index, group) in digits.get(zeros..)?.chunks(GROUP).enumerate() {
        let (mut factor, mut carry) = (1_u64, 0_u64);
        for digit in group {
            let value = VALUES.get(usize::from(*digit)).copied().filter(|value| *value != NONE)?;
            factor *= 58;
            carry = carry * 58 + u64::from(value);
        }
        // Before it there were not more words than groups.
        for word in words.iter_mut().take(index + 1) {
            let product = u128::from(*word) * u128::from(factor) + u128::from(carry);
            *word = u64::try_from(product & u128::from(u64::MAX)).ok()?;
            carry = u64::try_from(product >> 64).ok()?;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut padded = [0; BYTES_MAX];
    for (bytes, word) in padded.chunks_exact_mut(8).rev().zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    let start = padded.iter().take_while(|byte| **byte == 0).count().checked_sub(zeros)?;
    Some(Decoded { padded, start })
}

#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value: u8 = 0;
    while value < 58 {
        values[ALPHABET[value as usize] as usize] = value;
        value += 1;
    }
    values
}

#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
const fn weights() -> [[u64; LIMBS]; WORDS_32] {
    let mut weights = [[0; LIMBS]; WORDS_32];
    let mut weight = [0; LIMBS];
    weight[0] = 1;
    let mut word = WORDS_32;
    while word > 0 {
        word -= 1;
        weights[word] = weight;
        let mut carry = 0;
        let mut limb = 0;
        while limb < LIMBS {
            let product = (weight[limb] << 32) + carry;
            (weight[limb], carry) = (product % LIMB, product / LIMB);
            limb += 1;
        }
    }
    weights
}

#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
const fn pairs() -> [[u8; 2]; PAIRS] {
    let mut pairs = [[0; 2]; PAIRS];
    let mut pair = 0;
    while pair < PAIRS {
        pairs[pair] = [ALPHABET[pair / 58], ALPHABET[pair % 58]];
        pair += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_decodes_to_what_it_was_encoded_from() {
        for len in 0..=BYTES_MAX {
            for fill in [0, 1, 57, 58, 255] {
                let mut bytes = vec![fill; len];
                for zeros in 0..len.min(4) {
                    bytes[zeros] = 0;
                    let text = encode(&bytes).unwrap();
                    assert_eq!(text, bs58::encode(&bytes).into_string());
                    assert_eq!(decode(text.as_bytes()).unwrap().as_slice(), bytes, "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_base58_or_too_long_is_refused() {
        for text in ["0", "O", "I", "l", "1 1", "a\u{e9}", "+", "a\0"] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
        assert!(decode(b"").unwrap().as_slice().is_empty());
        for (bytes, fits) in [(vec![255; BYTES_MAX], true), (vec![1; BYTES_MAX + 1], false)] {
            assert_eq!(decode(bs58::encode(&bytes).into_string().as_bytes()).is_some(), fits);
        }
        assert!(decode("1".repeat(BYTES_MAX).as_bytes()).is_some());
        assert!(decode("1".repeat(BYTES_MAX + 1).as_bytes()).is_none());
    }
}
