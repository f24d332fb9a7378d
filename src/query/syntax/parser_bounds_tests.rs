//! What a hostile text costs.

use std::time::{Duration, Instant};

use super::{
    parser::{DEPTH_MAX, OPERATORS_MAX, QUERY_BYTES_MAX, REGEXES_MAX, parse},
    pretty::pretty,
    tree_json::to_json,
};

/// Reads and writes on a stack of a megabyte, half of what a thread has.
fn on_a_small_stack(text: String) -> Result<String, String> {
    let builder = std::thread::Builder::new().stack_size(1 << 20);
    let parse = move || match parse(&text) {
        Ok(expression) => {
            let copy = expression.clone();
            Ok(format!("{copy}{}{}", pretty(&copy), to_json(&copy)))
        }
        Err(error) => Err(error.message),
    };
    builder.spawn(parse).unwrap().join().unwrap()
}

#[test]
fn hostile_texts_are_refused_at_once() {
    let many = 100_000;
    let few = QUERY_BYTES_MAX / 8;
    for (name, head, part, tail) in [
        ("parentheses", "", "(", ""),
        ("sums", "1", "+1", ""),
        ("powers", "1", "^1", ""),
        ("minuses", "", "-", "1"),
        ("minuses of a metric", "", "-", "a"),
        ("subqueries", "a", "[1m:]", ""),
        ("offsets", "a", " offset 1m", ""),
        ("ats", "a", "@1", ""),
        ("calls", "", "abs(", ""),
        ("aggregations", "", "sum(", ""),
        ("braces", "", "{", ""),
        ("brackets", "a", "[", ""),
        ("sets", "a", " or a", ""),
        ("groups", "", "(1+", ""),
    ] {
        let start = Instant::now();
        let long = on_a_small_stack(format!("{head}{}{tail}", part.repeat(many)));
        assert!(long.unwrap_err().contains("at most 65536 bytes"), "{name}");
        let error = on_a_small_stack(format!("{head}{}{tail}", part.repeat(few))).unwrap_err();
        let is_known = [
            "more than 250 levels",
            "multiple times",
            "unexpected left",
            "at most",
        ]
        .iter()
        .any(|known| error.contains(known));
        assert!(is_known, "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(1), "{name}");
    }
}

#[test]
fn the_deepest_expressions_that_are_taken_fit_the_stack() {
    let deep = DEPTH_MAX - 1;
    for (name, head, part, tail, end) in [
        ("parentheses", "", "(", "1", ")"),
        ("sums", "1", "+1", "", ""),
        ("powers", "1", "^1", "", ""),
        ("minuses", "", "-", "a", ""),
        ("calls", "", "abs(", "a", ")"),
        ("aggregations", "", "sum by (x) (", "a", ")"),
    ] {
        let of = |count: usize| format!("{head}{}{tail}{}", part.repeat(count), end.repeat(count));
        assert!(on_a_small_stack(of(deep)).is_ok(), "{name}");
        let error = on_a_small_stack(of(deep + 1)).unwrap_err();
        assert!(error.contains("more than 250 levels"), "{name}: {error}");
    }
}

#[test]
fn wide_expressions_are_bounded_too() {
    let wide = |count: usize| {
        let part = vec!["1+1"; count].join(",");
        parse(&format!("label_join(x, 'a', {part})"))
            .unwrap_err()
            .message
    };
    assert!(wide(OPERATORS_MAX).starts_with("expected type string"));
    assert!(wide(OPERATORS_MAX + 1).contains("more than 2000 operators"));

    let regexes = |count: usize| parse(&format!("x{{{}}}", "a=~\"b\",".repeat(count)));
    assert!(regexes(REGEXES_MAX).is_ok());
    let error = regexes(REGEXES_MAX + 1).unwrap_err();
    assert!(error.message.contains("more than 128 regular expressions"));

    let labels = vec!["a"; 15_000].join(",");
    let text = format!(
        "x + on ({labels}) group_left ({}) y",
        labels.replace('a', "b")
    );
    let start = Instant::now();
    assert!(parse(&text).is_ok());
    assert!(start.elapsed() < Duration::from_secs(1));
}
