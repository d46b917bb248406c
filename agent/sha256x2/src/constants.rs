//! SHA-256's constants, worked out from their definition (FIPS 180-4, sections 4.2.2 and 5.3.3)
//! when this is compiled: the first 32 bits of the fractional parts of roots of the first primes.

const fn primes<const N: usize>() -> [u128; N] {
    let (mut found, mut count, mut next) = ([0; N], 0, 2);
    while count < N {
        let mut at = 0;
        while at < count && next % found[at] != 0 {
            at += 1;
        }
        if at == count {
            found[count] = next;
            count += 1;
        }
        next += 1;
    }
    found
}

/// The first 32 fractional bits of a square (2) or cube (3) root of a number below 2^9.
#[expect(clippy::cast_possible_truncation, reason = "the whole part is cut off")]
const fn fraction(of: u128, root: u32) -> u32 {
    // The largest n with n^root <= of * 2^(32 root), found bit by bit, is root(of) * 2^32.
    let (wanted, mut n, mut bit) = (of << (32 * root), 0_u128, 1_u128 << 37);
    while bit > 0 {
        if (n | bit).pow(root) <= wanted {
            n |= bit;
        }
        bit >>= 1;
    }
    n as u32
}

const fn fractions<const N: usize>(root: u32) -> [u32; N] {
    let (primes, mut words, mut at) = (primes::<N>(), [0; N], 0);
    while at < N {
        words[at] = fraction(primes[at], root);
        at += 1;
    }
    words
}

/// What a hash begins with: of the square roots of the first 8 primes.
pub(super) const BEGIN: [u32; 8] = fractions(2);
/// What is added in each round: of the cube roots of the first 64 primes.
pub(super) const ROUND: [u32; 64] = fractions(3);

#[cfg(test)]
mod tests {
    #[test]
    fn the_constants_are_those_that_the_standard_prints() {
        assert_eq!(super::BEGIN[0], 0x6a09_e667);
        assert_eq!(super::BEGIN[7], 0x5be0_cd19);
        assert_eq!(super::ROUND[0], 0x428a_2f98);
        assert_eq!(super::ROUND[63], 0xc671_78f2);
    }
}
