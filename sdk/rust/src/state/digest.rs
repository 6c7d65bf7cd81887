//! The digest of moved state: the sum modulo 2¹²⁸ over all records of BLAKE2b-128 of the record, whose key and value are
//! each prefixed with their length, personalised by the container's name.
//!
//! A sum does not depend on the order, can be kept up to date by one subtraction and one addition a change, and (unlike
//! an exclusive-or) does not lose two equal records.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

const BYTES: usize = 16;

/// Hashes the records of one container.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    params: Params,
}

impl Hasher {
    /// The hasher of a container. Its name is part of each hash: a record in another container is another record.
    pub(crate) fn new(container: &str) -> Self {
        let mut name = Params::new();
        let name = name.hash_length(BYTES).hash(container.as_bytes());
        let mut params = Params::new();
        params.hash_length(BYTES).personal(name.as_bytes());
        Self { params }
    }

    /// Hash of one record.
    #[cfg(test)]
    pub(crate) fn one(&self, record: &[u8]) -> u128 {
        number(self.params.hash(record).as_bytes())
    }

    /// A record to be hashed by [`all`].
    pub(crate) fn job<'a>(&self, record: &'a [u8]) -> HashManyJob<'a> {
        HashManyJob::new(&self.params, record)
    }
}

/// Hashes records side by side, four at a time where the processor can.
pub(crate) fn all(jobs: &mut [HashManyJob<'_>]) {
    hash_many(jobs.iter_mut());
}

/// The hash of a job that [`all`] has done.
pub(crate) fn of(job: &HashManyJob<'_>) -> u128 {
    number(job.to_hash().as_bytes())
}

fn number(hash: &[u8]) -> u128 {
    u128::from_be_bytes(hash.try_into().expect("the hash has the 16 bytes that were asked for"))
}

/// BLAKE2b-128 over pieces, each prefixed with its length: names a request.
pub(crate) fn fingerprint(pieces: &[&[u8]]) -> [u8; BYTES] {
    let mut params = Params::new();
    let mut state = params.hash_length(BYTES).to_state();
    for piece in pieces {
        state.update(&(piece.len() as u64).to_be_bytes()).update(piece);
    }
    state.finalize().as_bytes().try_into().expect("the hash has the 16 bytes that were asked for")
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn hashing_many_gives_what_hashing_one_gives() {
        let hasher = Hasher::new("sessions");
        let records: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
        let mut jobs: Vec<_> = records.iter().map(|record| hasher.job(record)).collect();
        all(&mut jobs);
        for (job, record) in jobs.iter().zip(&records) {
            assert_eq!(of(job), hasher.one(record));
        }
    }

    #[test]
    fn the_same_record_in_another_container_is_another_record() {
        assert_ne!(Hasher::new("a").one(b"record"), Hasher::new("b").one(b"record"));
    }
}
