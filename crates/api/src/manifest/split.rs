//! Divides a text into YAML documents: at lines that begin with `---`, which YAML allows nowhere else at the
//! start of a line (YAML 1.2 §9.1.2), and after `...`.

/// One document of a text.
pub(super) struct Document<'a> {
    /// From 1; documents that hold nothing count too.
    pub number: usize,
    /// The line of the file that the text starts in, from 1.
    pub first_line: usize,
    /// The document, without its marker.
    pub text: &'a str,
}

pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    let mut push = |from: usize, to: usize, first_line: usize| {
        let Some(text) = text.get(from..to) else { return };
        // What stands before the first marker is a document only when it holds something.
        let holds = text
            .lines()
            .any(|l| !l.trim().is_empty() && !l.starts_with(['#', '%']));
        if from > 0 || holds {
            documents.push(Document {
                number: documents.len() + 1,
                first_line,
                text,
            });
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end_matches(['\n', '\r']);
        let marker = |m: &str| {
            bare.strip_prefix(m)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        };
        if marker("---") {
            push(start, offset, first_line);
            start = offset + 3;
            first_line = index + 1;
        }
        offset += line.len();
    }
    push(start, text.len(), first_line);
    documents
}
