use super::*;

const NONE: Target<'_> = Target { name: "none", seeds: &[], words: &[], longest: 64 };

/// Four bytes, each behind the one before: by chance alone one in 2^32.
fn behind_four_doors(input: &[u8]) -> Result<Trace, String> {
    let mut trace = Trace::default();
    for (at, key) in b"key!".iter().enumerate() {
        if input.get(at) != Some(key) {
            return Ok(trace);
        }
        trace.saw(at);
    }
    Err("inside".to_owned())
}

#[test]
fn what_is_new_leads_further() {
    let (found, report) = NONE.tries(2_000_000, behind_four_doors);
    assert_eq!(found, Some(Found { input: b"key!".to_vec(), objection: "inside".to_owned() }), "{report}");
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let (first, again) = (NONE.tries(5_000, behind_four_doors), NONE.tries(5_000, behind_four_doors));
    assert_eq!((first.0, first.1.kept, first.1.seen), (again.0, again.1.kept, again.1.seen));
}

#[test]
fn words_are_put_together() {
    let words: Words<'_> = &[b"{", b"}", b"\"type\":", b"\"ping\""];
    let target = Target { words, ..NONE };
    let judge = |input: &[u8]| match input.windows(14).any(|part| part == b"{\"type\":\"ping\"") {
        true => Err("a ping".to_owned()),
        false => Ok(Trace::default()),
    };
    assert!(target.tries(2_000_000, judge).0.is_some());
}

#[test]
fn a_panic_is_found_and_made_small() {
    let target = Target { seeds: &[vec![b'a'; 60]], ..NONE };
    let judge = |input: &[u8]| match input.contains(&0xff) {
        true => panic!("the byte {}", 0xff),
        false => Ok(Trace::default()),
    };
    let (found, _) = target.tries(1_000_000, judge);
    assert_eq!(found, Some(Found { input: vec![0xff], objection: "a panic: the byte 255".to_owned() }));
}

#[test]
fn no_input_is_longer_than_the_longest() {
    let target = Target { seeds: &[vec![b'a'; 64]], words: &[b"a long word of the dictionary"], ..NONE };
    let judge = |input: &[u8]| match input.len() {
        0..=64 => Ok(Trace::default()),
        longer => Err(format!("{longer} bytes")),
    };
    assert_eq!(target.tries(100_000, judge).0, None);
}

/// The doors again, and nobody says that one was passed: only the edges tell.
#[cfg(fuzz_coverage)]
#[allow(clippy::collapsible_if, reason = "an edge for each door")]
#[test]
fn fuzz_is_led_by_edges_that_are_new() {
    let judge = |input: &[u8]| {
        if input.first() == Some(&b'k') {
            if input.get(1) == Some(&b'e') {
                if input.get(2) == Some(&b'y') {
                    if input.get(3) == Some(&b'!') {
                        return Err("inside".to_owned());
                    }
                }
            }
        }
        Ok(Trace::default())
    };
    let (found, report) = NONE.tries(2_000_000, judge);
    assert!(found.is_some(), "{report}");
}
