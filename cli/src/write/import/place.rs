//! Lines of a JSON document, which its parser does not tell.

/// Looks for strings in a text, one behind the other.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Everything before it has been passed.
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// Starts anew behind the first member of this name.
    pub(super) fn enter(&mut self, member: &str) {
        (self.at, self.line) = (0, 1);
        self.find_text(member);
    }

    /// The line of the next JSON string with this content; `None` if it is written otherwise than
    /// usual.
    pub(super) fn find_text(&mut self, content: &str) -> Option<u64> {
        let quoted = serde_json::to_string(content).ok()?;
        let rest = self.text.get(self.at..)?;
        let start = rest.find(&quoted)?;
        let passed = rest.get(..start)?.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u64::try_from(passed).unwrap_or_default());
        self.at = self.at.saturating_add(start + quoted.len());
        Some(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_one_behind_the_other_and_with_their_lines() {
        let text = "{\n \"a\": [\n  \"x\", \"y\",\n  \"x\"],\n \"b\": [\"x\", \"q\\\"\", \"\\/\"]}";
        let mut lines = Lines::of(text);
        lines.enter("a");
        let found = ["x", "y", "x", "x"].map(|content| lines.find_text(content));
        assert_eq!(found, [Some(3), Some(3), Some(4), Some(5)]);
        assert_eq!(lines.find_text("q\""), Some(5));
        assert_eq!(lines.find_text("/"), None, "written as nobody has to");
        lines.enter("b");
        assert_eq!(lines.find_text("x"), Some(5));
        lines.enter("c");
        assert_eq!(lines.find_text("x"), Some(3), "no such member: from the beginning");
    }
}
