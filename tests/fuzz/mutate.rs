//! Makes new inputs of old ones: small changes, words of the grammar, pieces of other inputs, repeated chunks, numbers
//! at their limits.

use crate::dice::Dice;

/// Longer inputs are refused before they are parsed, or cut.
pub(crate) const BYTES_MAX: usize = 64 << 10;

/// Mutations of one input, at most.
const CHANGES_MAX: u64 = 8;

/// Numbers where types end, and how nobody should write one.
const NUMBERS: [&str; 18] = [
    "0",
    "-1",
    "00",
    "-0",
    "127",
    "256",
    "65536",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e-400",
];

/// Bytes at which readers do something else.
const BYTES: &[u8] = b"\0\t\n\r \"'\\/,;:=?#%&@<>()[]{}*-_.0aAz\x7f\x80\xc0\xff";

pub(crate) struct Mutator<'a> {
    pub(crate) dice: Dice,
    /// Words of the grammar.
    pub(crate) tokens: &'a [&'a str],
}

impl Mutator<'_> {
    /// One of the pool, changed a few times.
    pub(crate) fn mutated(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(pool).clone();
        for _ in 0..self.dice.scale(CHANGES_MAX) {
            self.change(&mut input, pool);
            input.truncate(BYTES_MAX);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.place(input);
        match self.dice.below(12) {
            0 => self.touch(input, |byte, dice| byte ^ (1 << dice.below(8))),
            1 => self.touch(input, |_, dice| *pick(dice, BYTES)),
            2 => drop(input.splice(at..at, [*pick(&mut self.dice, BYTES)])),
            3 => input.truncate(at),
            4 => drop(input.drain(self.range(input))),
            5 | 6 => {
                let token = pick(&mut self.dice, self.tokens).as_bytes().to_vec();
                let end = if self.dice.one_in(2) { self.range_from(at, input) } else { at };
                drop(input.splice(at..end, token));
            }
            7 => {
                let other = self.one_of(pool).clone();
                let from = self.place(&other);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            8 => {
                let other = self.one_of(pool).clone();
                let piece = other[self.range(&other)].to_vec();
                drop(input.splice(at..at, piece));
            }
            9 => self.repeat(input),
            10 => self.number(input),
            _ => {
                let piece = input.drain(self.range(input)).collect::<Vec<_>>();
                let at = self.place(input);
                drop(input.splice(at..at, piece));
            }
        }
    }

    fn touch(&mut self, input: &mut [u8], new: impl FnOnce(u8, &mut Dice) -> u8) {
        let at = self.place(input);
        if let Some(byte) = input.get_mut(at) {
            *byte = new(*byte, &mut self.dice);
        }
    }

    /// A chunk a few times, and now and then as often as there is room.
    fn repeat(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input);
        let (chunk, end) = (input[range.clone()].to_vec(), range.end);
        let most = (BYTES_MAX.saturating_sub(input.len()) / chunk.len().max(1)) as u64;
        let times = if self.dice.one_in(40) { most } else { self.dice.scale(64).min(most) };
        drop(input.splice(end..end, chunk.repeat(usize::try_from(times).unwrap())));
    }

    /// A number that stands there becomes another; where there is none, bytes become a number as programs store it.
    fn number(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input);
        let digit = |byte: &u8| byte.is_ascii_digit();
        if let Some(start) = input[at..].iter().position(digit).map(|found| at + found) {
            let end = input[start..].iter().position(|byte| !digit(byte)).map_or(input.len(), |found| start + found);
            drop(input.splice(start..end, pick(&mut self.dice, &NUMBERS).bytes()));
            return;
        }
        let limit =
            *pick(&mut self.dice, &[0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX]);
        let bytes = 1 << self.dice.below(4);
        let mut number = limit.to_le_bytes()[..bytes].to_vec();
        if self.dice.one_in(2) {
            number.reverse();
        }
        let end = input.len().min(at + bytes);
        drop(input.splice(at..end, number));
    }

    fn one_of<'p>(&mut self, pool: &'p [Vec<u8>]) -> &'p Vec<u8> {
        pick(&mut self.dice, pool)
    }

    /// Anywhere in it, its end included.
    fn place(&mut self, input: &[u8]) -> usize {
        usize::try_from(self.dice.below(input.len() as u64 + 1)).unwrap()
    }

    fn range(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(input);
        start..self.range_from(start, input)
    }

    /// The end of a piece that begins there: short ones as often as long ones.
    fn range_from(&mut self, start: usize, input: &[u8]) -> usize {
        let left = input.len() - start;
        start + left.min(usize::try_from(self.dice.scale(left.max(2) as u64)).unwrap())
    }
}

fn pick<'p, T>(dice: &mut Dice, of: &'p [T]) -> &'p T {
    &of[usize::try_from(dice.below(of.len() as u64)).unwrap()]
}
