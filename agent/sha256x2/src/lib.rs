//! SHA-256 (FIPS 180-4) of two files at once, on one core.
//!
//! One stream keeps half of a core's SHA unit busy, because each round waits for the one before
//! it; two streams side by side keep it full. Where the processor has no such unit, `sha2` does
//! all of it. What comes out is SHA-256 either way: the tests hold it against `sha2`, and `fuzz`
//! goes on looking.
//!
//! A crate of its own, so that it is optimised in test builds too, and so that the only `unsafe`
//! of hashing stands alone. It does no I/O and knows nothing of who calls it.

mod constants;
#[cfg(target_arch = "x86_64")]
mod x2;

#[cfg(target_arch = "x86_64")]
use x2::Unit;

/// The length of a block in bytes: what is hashed in whole blocks needs no copying aside.
pub const BLOCK: usize = 64;

type Block = [u8; BLOCK];

/// Where there is no unit that this knows, none is found.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
enum Unit {}

#[cfg(not(target_arch = "x86_64"))]
impl Unit {
    fn find() -> Option<Self> {
        None
    }

    fn one(self, _: &mut [u32; 8], _: &[Block]) {
        match self {}
    }

    fn two(self, _: (&mut [u32; 8], &[Block]), _: (&mut [u32; 8], &[Block])) {
        match self {}
    }
}

/// How blocks are compressed.
#[derive(Clone, Copy, Debug)]
pub struct Engine(Option<Unit>);

impl Engine {
    /// The processor's SHA unit where it has one, else `sha2`.
    pub fn find() -> Self {
        Self(Unit::find())
    }

    /// `sha2`, whatever the processor has.
    pub const fn portable() -> Self {
        Self(None)
    }

    /// Whether two streams are hashed side by side.
    pub const fn pairs(self) -> bool {
        self.0.is_some()
    }

    fn one(self, state: &mut [u32; 8], blocks: &[Block]) {
        match self.0 {
            Some(unit) => unit.one(state, blocks),
            None => sha2::block_api::compress256(state, blocks),
        }
    }

    /// As many blocks of each as both have.
    fn two(self, a: (&mut [u32; 8], &[Block]), b: (&mut [u32; 8], &[Block])) {
        match self.0 {
            Some(unit) => unit.two(a, b),
            None => {
                sha2::block_api::compress256(a.0, a.1);
                sha2::block_api::compress256(b.0, b.1);
            }
        }
    }
}

/// A hash under way.
#[derive(Clone, Debug)]
pub struct Hasher {
    engine: Engine,
    state: [u32; 8],
    /// Bytes taken in so far.
    length: u64,
    /// The last `length % 64` bytes of them.
    part: Block,
}

impl Hasher {
    /// Begins a hash.
    pub const fn new(engine: Engine) -> Self {
        Self {
            engine,
            state: constants::BEGIN,
            length: 0,
            part: [0; BLOCK],
        }
    }

    /// Bytes taken in so far.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Takes in bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.align(bytes).as_chunks();
        self.engine.one(&mut self.state, blocks);
        self.length += size_of_val(blocks) as u64;
        self.keep(rest);
    }

    /// Ends the hash.
    pub fn finish(mut self) -> [u8; 32] {
        // The message, a one bit, zeros, and the length in bits fill whole blocks.
        let bits = self.length.wrapping_mul(8).to_be_bytes();
        let held = self.held();
        let mut end = [[0; BLOCK]; 2];
        end[0][..held].copy_from_slice(&self.part[..held]);
        end[0][held] = 0x80;
        let blocks = if held < BLOCK - bits.len() { 1 } else { 2 };
        end[blocks - 1][BLOCK - bits.len()..].copy_from_slice(&bits);
        self.engine.one(&mut self.state, &end[..blocks]);
        let mut out = [0; 32];
        for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        out
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is below 64")]
    const fn held(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }

    /// Keeps less than what fills the block that is begun.
    fn keep(&mut self, bytes: &[u8]) {
        let held = self.held();
        self.part[held..held + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u64;
    }

    /// Fills a block that is begun; gives what is left behind it. Where something is left, no
    /// block is begun any more.
    fn align<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let held = self.held();
        if held == 0 {
            return bytes;
        }
        let (fill, rest) = bytes.split_at(bytes.len().min(BLOCK - held));
        self.part[held..held + fill.len()].copy_from_slice(fill);
        self.length += fill.len() as u64;
        if self.held() == 0 {
            let block = self.part;
            self.engine.one(&mut self.state, &[block]);
        }
        rest
    }
}

/// Takes in bytes of two hashes, side by side as far as both have some.
pub fn update_both(a: (&mut Hasher, &[u8]), b: (&mut Hasher, &[u8])) {
    let ((a, bytes_a), (b, bytes_b)) = (a, b);
    let (blocks_a, rest_a) = a.align(bytes_a).as_chunks();
    let (blocks_b, rest_b) = b.align(bytes_b).as_chunks();
    let (both_a, more_a) = blocks_a.split_at(blocks_a.len().min(blocks_b.len()));
    let (both_b, more_b) = blocks_b.split_at(both_a.len());
    a.engine.two((&mut a.state, both_a), (&mut b.state, both_b));
    a.engine.one(&mut a.state, more_a);
    b.engine.one(&mut b.state, more_b);
    a.length += size_of_val(blocks_a) as u64;
    b.length += size_of_val(blocks_b) as u64;
    a.keep(rest_a);
    b.keep(rest_b);
}
