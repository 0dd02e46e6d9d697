//! Base58 of short byte strings, five digits at a time: writing the peers of a snapshot is mostly
//! this.

/// Longest input, in bytes; a peer id of the usual kind has 38.
pub(super) const BYTES_MAX: usize = 40;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 58 to the fifth: the largest power whose product with a 32-bit word fits in 64 bits.
const LIMB: u64 = 656_356_768;
/// Limbs that hold any [`BYTES_MAX`] bytes.
const LIMBS: usize = 11;

/// The base58 text of at most [`BYTES_MAX`] bytes; `None` for more.
pub(super) fn encode(bytes: &[u8]) -> Option<String> {
    let mut padded = [0; BYTES_MAX];
    padded.split_at_mut_checked(BYTES_MAX.checked_sub(bytes.len())?)?.1.copy_from_slice(bytes);
    // The number in base `LIMB`, the lowest limb first.
    let mut limbs = [0_u64; LIMBS];
    for word in padded.chunks_exact(4) {
        let mut carry = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        for limb in &mut limbs {
            let product = *limb << 32 | carry;
            (*limb, carry) = (product % LIMB, product / LIMB);
        }
    }
    let mut text = String::with_capacity(bytes.len() * 7 / 5 + 1);
    text.extend(bytes.iter().take_while(|byte| **byte == 0).map(|_| '1'));
    let digits = limbs
        .iter()
        .rev()
        .flat_map(|limb| [11_316_496, 195_112, 3_364, 58, 1].map(|power| limb / power % 58));
    text.extend(digits.skip_while(|digit| *digit == 0).map(digit));
    Some(text)
}

fn digit(value: u64) -> char {
    let index = usize::try_from(value).unwrap_or_default();
    ALPHABET.get(index).map_or('1', |byte| char::from(*byte))
}
