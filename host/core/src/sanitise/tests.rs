use proptest::prelude::*;

use super::*;

#[test]
fn text_keeps_its_line_breaks_and_nothing_else_that_acts() {
    assert_eq!(text("one\n\u{1b}[31mtwo\r\n\nthree\u{9b}", 100), "one\ntwo \n\nthree");
    assert_eq!(text("abc\nde", 2), "a…\nde");
    assert_eq!(text("", 2), "");
}

#[test]
fn what_would_act_on_a_terminal_or_hide_is_gone() {
    let cases = [
        ("plain text, ümläut, 漢字, 👩\u{200d}🚀", "plain text, ümläut, 漢字, 👩\u{200d}🚀"),
        ("\u{1b}[31mred\u{1b}[0m", "red"),
        ("\u{1b}[38;5;196mred", "red"),
        ("\u{1b}]0;title\u{7}after", "after"),
        ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
        ("\u{1b}Pdcs\u{1b}\\after", "after"),
        ("\u{9b}31mred", "red"),
        ("\u{9d}title\u{9c}after", "after"),
        ("\u{1b}(Bafter", "after"),
        ("\u{1b}cafter", "after"),
        ("\u{1b}]never ends\nnext line", " next line"),
        ("\u{1b}", ""),
        ("\u{1b}[", ""),
        ("\u{1b}é", "é"),
        ("a\u{0}b\u{8}c\u{7f}d", "abcd"),
        ("one\ntwo\r\n\tthree", "one two  \u{20}three"),
        ("user\u{202e}gnp.exe\u{2066}\u{200f}\u{feff}", "usergnp.exe"),
        ("tag\u{e0041}ged", "tagged"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ];
    for (text, expected) in cases {
        assert_eq!(line(text, 1000), expected, "{text:?}");
    }
}

#[test]
fn a_cut_is_said_and_only_a_cut() {
    assert_eq!(line("12345", 5), "12345");
    assert_eq!(line("123456", 5), "1234…");
    assert_eq!(line("ééé", 2), "é…");
    assert_eq!(line("12345\u{1b}[0m", 5), "12345");
}

#[test]
fn ten_megabytes_are_not_read_to_their_end() {
    let huge = "x".repeat(10 << 20);
    assert_eq!(line(&huge, 100).chars().count(), 100);
}

proptest! {
    #[test]
    fn any_text_becomes_one_bounded_safe_line(
        text in prop::collection::vec(prop_oneof![
            Just('\u{1b}'), Just('['), Just(']'), Just('P'), Just('('), Just('\\'), Just('\u{7}'), Just('\n'),
            Just('\u{9b}'), Just('\u{9d}'), Just('\u{9c}'), Just('\u{202e}'), any::<char>(),
        ], 0..60).prop_map(|chars| chars.into_iter().collect::<String>()),
        most in 1usize..40,
    ) {
        let safe = line(&text, most);
        prop_assert!(safe.chars().count() <= most);
        prop_assert!(!safe.chars().any(|c| c.is_control() || is_hidden(c)));
        prop_assert_eq!(line(&safe, most), safe.clone(), "what is safe stays as it is");
    }
}
