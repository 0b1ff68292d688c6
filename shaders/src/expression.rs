//! Integer expressions of the preprocessor: `HEAD_DIM % 4 == 0 && !F16`.
//!
//! Precedence as in WGSL. Comparisons and logic give 0 or 1. Division by zero and unknown names are errors.

/// Evaluates `text`; `lookup` gives the value of a name.
pub fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Option<i64>) -> Result<i64, String> {
    let mut parser = Parser { tokens: tokenize(text)?, next: 0, lookup };
    let value = parser.binary(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(value),
        Some(token) => Err(format!("unexpected `{token}` in `{text}`")),
    }
}

/// Operators by rising precedence; longer spellings first within a level.
const LEVELS: [&[&str]; 5] =
    [&["||"], &["&&"], &["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

fn tokenize(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if ["||", "&&", "==", "!=", "<=", ">="].iter().any(|op| rest.starts_with(op)) {
            2
        } else if "<>+-*/%!()".contains(first) {
            1
        } else {
            return Err(format!("`{first}` is not part of an expression (`{text}`)"));
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<&'a str>,
    next: usize,
    lookup: &'a dyn Fn(&str) -> Option<i64>,
}

impl Parser<'_> {
    fn binary(&mut self, level: usize) -> Result<i64, String> {
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        while let Some(&operator) = self.tokens.get(self.next).filter(|t| LEVELS[level].contains(t)) {
            self.next += 1;
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i64, String> {
        let token = *self.tokens.get(self.next).ok_or("an expression ends too early")?;
        self.next += 1;
        match token {
            "!" => Ok((self.unary()? == 0) as i64),
            "-" => Ok(-self.unary()?),
            "(" => {
                let value = self.binary(0)?;
                if self.tokens.get(self.next) != Some(&")") {
                    return Err("a `(` is not closed".into());
                }
                self.next += 1;
                Ok(value)
            }
            _ if token.starts_with(|c: char| c.is_ascii_digit()) => {
                token.parse().map_err(|_| format!("`{token}` is not an integer"))
            }
            name => (self.lookup)(name).ok_or_else(|| format!("`{name}` is not defined, or not an integer")),
        }
    }
}

fn apply(operator: &str, a: i64, b: i64) -> Result<i64, String> {
    Ok(match operator {
        "||" => (a != 0 || b != 0) as i64,
        "&&" => (a != 0 && b != 0) as i64,
        "==" => (a == b) as i64,
        "!=" => (a != b) as i64,
        "<=" => (a <= b) as i64,
        ">=" => (a >= b) as i64,
        "<" => (a < b) as i64,
        ">" => (a > b) as i64,
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" | "%" if b == 0 => return Err("division by zero".into()),
        "/" => a / b,
        "%" => a % b,
        _ => return Err(format!("`{operator}` is not an operator")),
    })
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    fn value(text: &str) -> Result<i64, String> {
        evaluate(text, &|name| (name == "DIM").then_some(20))
    }

    #[test]
    fn follows_precedence() {
        assert_eq!(value("1 + 2*3 - (4 - 2) / 2"), Ok(6));
        assert_eq!(value("DIM % 4 == 0 && !0 || 0"), Ok(1));
        assert_eq!(value("(DIM+15)/16*16"), Ok(32));
        assert_eq!(value("-DIM < 0"), Ok(1));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in ["WIDTH", "1 +", "(1", "1 2", "DIM / 0", "1 ? 2"] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }
}
