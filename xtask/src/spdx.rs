//! SPDX licence expressions: `MIT OR (Apache-2.0 WITH LLVM-exception AND Unicode-3.0)`, and the older `MIT/Apache-2.0`.

/// Whether the licences that are allowed satisfy an expression. A licence with an exception is allowed when the
/// licence is, since an exception only adds rights.
pub fn is_satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens, allowed };
    let satisfied = parser.any().ok_or_else(|| format!("cannot read the licence expression `{expression}`"))?;
    if parser.tokens.is_empty() {
        Ok(satisfied)
    } else {
        Err(format!("cannot read the licence expression `{expression}`"))
    }
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Parser<'a> {
    /// `all OR all OR ...`
    fn any(&mut self) -> Option<bool> {
        let mut satisfied = self.all()?;
        while self.take("OR") {
            satisfied |= self.all()?;
        }
        Some(satisfied)
    }

    /// `one AND one AND ...`
    fn all(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.take("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    /// A licence, with or without an exception, or an expression in parentheses.
    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let satisfied = self.any()?;
            return self.take(")").then_some(satisfied);
        }
        let licence = self.next_name()?;
        if self.take("WITH") {
            self.next_name()?;
        }
        Some((self.allowed)(licence))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn next_name(&mut self) -> Option<&'a str> {
        let (name, rest) = self.tokens.split_first()?;
        if ["(", ")", "AND", "OR", "WITH"].contains(name) {
            return None;
        }
        self.tokens = rest;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Result<bool, String> {
        is_satisfied(expression, &|licence| ["MIT", "Apache-2.0", "Unicode-3.0"].contains(&licence))
    }

    #[test]
    fn expressions_are_judged_as_spdx_says() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only/MIT", true),
            ("MIT / Apache-2.0", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            // AND binds tighter than OR.
            ("MIT OR GPL-3.0-only AND GPL-2.0-only", true),
            ("GPL-3.0-only AND GPL-2.0-only OR GPL-1.0-only", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0-only", true),
            ("GPL-3.0-only WITH Classpath-exception-2.0", false),
        ] {
            assert_eq!(check(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT Apache-2.0", "MIT WITH"] {
            assert!(check(expression).is_err(), "{expression}");
        }
    }
}
