//! A hash of a state, as fast as it can be: a state has hundreds of small fields, and hashing them is much of the
//! work. Each word is folded in by one multiplication to 128 bits, as in wyhash and its kin; nobody attacks it.

use std::hash::Hasher;

/// See the module.
pub(super) struct Fingerprint(u64);

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0x2d35_8dcc_aa6c_78a5;

fn fold(one: u64, other: u64) -> u64 {
    let (low, high) = one.carrying_mul(other, 0);
    low ^ high
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self(START)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        fold(self.0 ^ START, FACTOR)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // The rotation keeps a word that meets its own mirror image from being the end of all difference.
        self.0 = fold(self.0.rotate_left(23) ^ value ^ FACTOR, FACTOR).wrapping_add(START);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}
