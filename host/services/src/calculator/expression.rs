//! Parses and evaluates an expression in one pass, by recursive descent.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = factor { ("*" | "/") factor }
//! factor  = ("-" | "+") factor | "(" sum ")" | number
//! ```

/// Deepest nesting of parentheses and signs: the stack is the host's.
const MAX_DEPTH: u32 = 64;

/// Why an expression has no value. Positions count bytes from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpressionError {
    Expected { what: &'static str, at: usize },
    DividedByZero,
    TooLarge,
    TooDeep,
}

impl std::fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expected { what, at } => write!(f, "expected {what} at position {at}"),
            Self::DividedByZero => f.write_str("division by zero"),
            Self::TooLarge => f.write_str("the result is too large"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH}"),
        }
    }
}

/// The value of an expression; always finite.
pub(super) fn evaluate(text: &str) -> Result<f64, ExpressionError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.expected("an operator or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, ExpressionError> {
        let mut value = self.product()?;
        while let Some(operator @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            value = finite(if operator == b'+' { value + right } else { value - right })?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, ExpressionError> {
        let mut value = self.factor()?;
        while let Some(operator @ (b'*' | b'/')) = self.peek() {
            self.at += 1;
            let right = self.factor()?;
            if operator == b'/' && right == 0.0 {
                return Err(ExpressionError::DividedByZero);
            }
            value = finite(if operator == b'*' { value * right } else { value / right })?;
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<f64, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let value = match self.peek() {
            Some(b'-') => {
                self.at += 1;
                -self.factor()?
            }
            Some(b'+') => {
                self.at += 1;
                self.factor()?
            }
            Some(b'(') => {
                self.at += 1;
                let value = self.sum()?;
                if self.peek() != Some(b')') {
                    return Err(self.expected("`)`"));
                }
                self.at += 1;
                value
            }
            Some(_) | None => self.number()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Digits with at most one point; no exponent, no `inf`, no `nan`.
    fn number(&mut self) -> Result<f64, ExpressionError> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        // Only digits and points: `parse` refuses what is left of wrong ones (`.`, `1.2.3`, nothing at all).
        let value = rest[..length].parse().map_err(|_| self.expected("a number"))?;
        self.at += length;
        finite(value)
    }

    /// The next byte that is no space. Only ASCII is ever stepped over, so `at` stays on a character's border.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, what: &'static str) -> ExpressionError {
        ExpressionError::Expected { what, at: self.at + 1 }
    }
}

fn finite(value: f64) -> Result<f64, ExpressionError> {
    if value.is_finite() { Ok(value) } else { Err(ExpressionError::TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_and_association_are_as_at_school() {
        let cases = [
            ("1", 1.0),
            (" 1 + 2 * 3 ", 7.0),
            ("(1+2)*3", 9.0),
            ("10-4-3", 3.0),
            ("100/10/5", 2.0),
            ("-2*-3", 6.0),
            ("--2", 2.0),
            ("2-+-2", 4.0),
            ("((((1))))", 1.0),
            (".5+1.", 1.5),
            ("1\n+\t1", 2.0),
        ];
        for (text, expected) in cases {
            assert_eq!(evaluate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error_that_says_where() {
        let at = |text: &str| match evaluate(text) {
            Err(ExpressionError::Expected { at, .. }) => at,
            other => panic!("{text}: {other:?}"),
        };
        let cases = [
            ("", 1),
            ("1 +", 4),
            ("(1", 3),
            ("1)", 2),
            ("1 2", 3),
            ("1.2.3", 1),
            ("x", 1),
            ("1+é", 3),
            ("2^3", 2),
        ];
        for (text, position) in cases {
            assert_eq!(at(text), position, "{text}");
        }
    }

    #[test]
    fn nothing_is_infinite_or_overflows_the_stack() {
        assert_eq!(evaluate("1/0"), Err(ExpressionError::DividedByZero));
        assert_eq!(evaluate("0/(1-1)"), Err(ExpressionError::DividedByZero));
        assert_eq!(evaluate(&"9".repeat(400)), Err(ExpressionError::TooLarge));
        assert_eq!(evaluate(&"(".repeat(4000)), Err(ExpressionError::TooDeep));
        assert_eq!(evaluate(&"-".repeat(4000)), Err(ExpressionError::TooDeep));
        assert_eq!(evaluate(&["(1)"; 500].join("+")), Ok(500.0));
    }
}
