//! Columns of times, in milliseconds (any `i64` round-trips).
//!
//! No times take no bytes. Otherwise the first byte says how the rest is written:
//!
//! ```text
//! 0 steady    | zigzag varint first | zigzag varint step, if there are two or more |
//! 1 deltas    | zigzag varint first | frames of the differences                    |
//! 2 grid      | zigzag varint first | zigzag varint step | frames of time - (first + i step), from i = 1 on |
//! ```
//!
//! All arithmetic wraps. A scrape loop jitters around a grid, which makes the distance from the grid
//! smaller than differences of neighbours; gaps leave the grid, and then differences win.
//! Frames: see `bits.rs`.

use super::{
    Corrupt,
    bits::{FRAME, Packing, take_frame},
    varint,
};

const STEADY: u8 = 0;
const DELTAS: u8 = 1;
const GRID: u8 = 2;

/// Appends a column of `times` to `out`, in the smallest encoding found.
pub fn encode(times: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = times.split_first() else {
        return;
    };
    let deltas: Vec<i64> = times.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let step = deltas.first().copied();
    if deltas.iter().all(|d| Some(*d) == step) {
        out.push(STEADY);
        varint::put_i64(out, first);
        if let Some(step) = step {
            varint::put_i64(out, step);
        }
        return;
    }
    let step = typical_step(&deltas);
    let mut on_grid = first;
    let distances: Vec<i64> = rest
        .iter()
        .map(|time| {
            on_grid = on_grid.wrapping_add(step);
            time.wrapping_sub(on_grid)
        })
        .collect();
    let step_len = varint::len_u64(varint::zigzag(step));
    let by_deltas = Packing::within(usize::MAX, &deltas);
    let budget = by_deltas.as_ref().map_or(usize::MAX, Packing::len);
    let by_grid = Packing::within(budget.saturating_sub(step_len + 1), &distances);
    let (tag, packing) = match &by_grid {
        Some(grid) => (GRID, Some(grid)),
        None => (DELTAS, by_deltas.as_ref()),
    };
    out.push(tag);
    varint::put_i64(out, first);
    if tag == GRID {
        varint::put_i64(out, step);
    }
    if let Some(packing) = packing {
        packing.put(out);
    }
}

/// Appends the `count` times of a column to `out`.
///
/// # Errors
/// `bytes` are not exactly one column of `count` times, as [`encode`] writes it; `out` may then have
/// got some times, at most `count`.
pub fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    let mut input = bytes;
    if count > 0 {
        let (&tag, rest) = input
            .split_first()
            .ok_or(Corrupt::new("truncated column of times"))?;
        input = rest;
        let first = varint::take_i64(&mut input)?;
        match tag {
            STEADY => {
                let step = if count > 1 {
                    varint::take_i64(&mut input)?
                } else {
                    0
                };
                out.extend(
                    std::iter::successors(Some(first), |t| Some(t.wrapping_add(step))).take(count),
                );
            }
            DELTAS => {
                let mut time = first;
                take_rest(&mut input, first, count, out, |delta| {
                    time = time.wrapping_add(delta);
                    time
                })?;
            }
            GRID => {
                let step = varint::take_i64(&mut input)?;
                let mut on_grid = first;
                take_rest(&mut input, first, count, out, |distance| {
                    on_grid = on_grid.wrapping_add(step);
                    on_grid.wrapping_add(distance)
                })?;
            }
            _ => return Err(Corrupt::new("unknown encoding of a column of times")),
        }
    }
    if input.is_empty() {
        Ok(())
    } else {
        Err(Corrupt::new("bytes behind a column of times"))
    }
}

/// Appends `first` and then the time of each of the `count - 1` packed numbers.
fn take_rest(
    input: &mut &[u8],
    first: i64,
    count: usize,
    out: &mut Vec<i64>,
    mut time_of: impl FnMut(i64) -> i64,
) -> Result<(), Corrupt> {
    out.push(first);
    let mut frame = [0; FRAME];
    let mut left = count - 1;
    while left > 0 {
        let numbers = &mut frame[..left.min(FRAME)];
        take_frame(input, numbers)?;
        out.extend(numbers.iter().map(|&n| time_of(n)));
        left -= numbers.len();
    }
    Ok(())
}

/// The step of the grid that most times lie on: the mean of the differences that are near the median,
/// so that gaps do not count.
fn typical_step(deltas: &[i64]) -> i64 {
    let mut sorted = deltas.to_vec();
    let middle = sorted.len() / 2;
    let (_, &mut median, _) = sorted.select_nth_unstable(middle);
    let near = median.unsigned_abs() / 2;
    let (sum, count) = deltas
        .iter()
        .filter(|d| d.abs_diff(median) <= near)
        .fold((0_i128, 0_i128), |(sum, n), &d| {
            (sum + i128::from(d), n + 1)
        });
    // The median itself is near, and a mean lies between its terms.
    i64::try_from((sum + count / 2).div_euclid(count.max(1))).unwrap_or(median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(times: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(times, &mut out);
        let mut back = vec![7];
        decode(&out, times.len(), &mut back).unwrap();
        assert_eq!(back[1..], *times);
        out
    }

    fn jittered(n: i64, jitter: i64) -> Vec<i64> {
        (0..n)
            .map(|i| {
                1_700_000_000_000 + i * 15_000 + (i * 7919 + i * i * 104_729) % (2 * jitter + 1)
                    - jitter
            })
            .collect()
    }

    #[test]
    fn bytes_are_frozen() {
        assert!(encoded(&[]).is_empty());
        assert_eq!(encoded(&[-3]), [0, 5]);
        assert_eq!(encoded(&[1000, 2000, 3000]), [0, 0xd0, 0x0f, 0xd0, 0x0f]);
        assert_eq!(encoded(&[0, 1, 3, 4]), [1, 0, 1, 2, 0b010]);
    }

    #[test]
    fn bytes_of_a_grid_are_frozen() {
        let jitter = [0, 3, -3, 3, -3, 2, -3, 3, 0, -3, 3, -2, 3, -3, 1, 0, 0];
        let times: Vec<i64> = jitter.iter().zip(0..).map(|(j, i)| i * 1000 + j).collect();
        assert_eq!(
            encoded(&times),
            [2, 0, 0xd0, 0x0f, 3, 5, 0x86, 0x51, 0x78, 0x70, 0x0c, 0x6e]
        );
    }

    #[test]
    fn columns_are_as_small_as_promised() {
        let regular: Vec<i64> = (0..480).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        assert!(encoded(&regular).len() <= 10);
        // +-50 ms are 101 values: seven bits.
        assert!(encoded(&jittered(480, 50)).len() <= 480 * 7 / 8 + 30);
        // A restart: one gap costs a few bytes, not the grid.
        let mut gap = regular.clone();
        for time in &mut gap[200..] {
            *time += 61_234;
        }
        assert!(encoded(&gap).len() <= 35);
        let mut jittered_gap = jittered(480, 50);
        for time in &mut jittered_gap[200..] {
            *time += 61_234;
        }
        assert!(encoded(&jittered_gap).len() <= 480 * 9 / 8);
    }

    #[test]
    fn the_far_ends_of_time_round_trip() {
        encoded(&[i64::MIN, i64::MAX, 0, i64::MAX, i64::MIN, i64::MIN, -1]);
        encoded(&[i64::MIN, i64::MAX]);
        encoded(&[i64::MAX, i64::MIN, i64::MAX - 1]);
    }

    #[test]
    fn refusals_say_why() {
        for (bytes, count, what) in [
            (&[0][..], 0, "bytes behind a column of times"),
            (&[], 1, "truncated column of times"),
            (&[9, 0], 1, "unknown encoding of a column of times"),
            (&[0, 0], 2, "truncated integer"),
            (&[1, 0], 2, "truncated frame of integers"),
            (&[1, 0, 0x80, 0, 2], 2, "more patches than integers"),
            (&[1, 0, 0x80, 0, 1, 1, 0], 2, "patch outside its frame"),
            (&[1, 0, 65, 0], 2, "integers of more than 64 bits"),
        ] {
            assert_eq!(
                decode(bytes, count, &mut Vec::new()),
                Err(Corrupt { what }),
                "{bytes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_times_round_trip(times in proptest::collection::vec(any::<i64>(), 0..300)) {
            encoded(&times);
        }

        #[test]
        fn scrapes_round_trip(
            first in any::<i64>(),
            step in 1..100_000_i64,
            moves in proptest::collection::vec(prop_oneof![20 => -50..50_i64, 1 => any::<i64>()], 0..400),
        ) {
            let times: Vec<i64> = moves
                .iter()
                .zip(0_i64..)
                .map(|(m, i)| first.wrapping_add(i * step).wrapping_add(*m))
                .collect();
            encoded(&times);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, tag in 0..4_u8, count in 0..1000_usize) {
            let tagged = [&[tag][..], &bytes].concat();
            for bytes in [&bytes, &tagged] {
                let mut out = Vec::new();
                let _ = decode(bytes, count, &mut out);
                prop_assert!(out.len() <= count);
            }
        }

        #[test]
        fn damage_is_survived(jitter in 0..100_i64, at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let times = jittered(300, jitter);
            let mut bytes = encoded(&times);
            let cut = cut.index(bytes.len());
            prop_assert!(decode(&bytes[..cut], times.len(), &mut Vec::new()).is_err());
            let at = at.index(bytes.len());
            bytes[at] = to;
            let mut out = Vec::new();
            let _ = decode(&bytes, times.len(), &mut out);
            prop_assert!(out.len() <= times.len());
        }
    }
}
