//! A quiet HTML page of results: `report.html` beside the pictures that it shows. It needs no script and no network.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The page under construction; parts appear in the order in which they are added. Text is plain: only
/// `code` between backticks is marked up.
#[derive(Debug)]
pub struct Report {
    title: String,
    subtitle: String,
    sections: Vec<String>,
    pictures: Vec<String>,
    body: String,
}

impl Report {
    /// An empty page.
    pub fn new(title: impl Into<String>, subtitle: impl Into<String>) -> Self {
        let (title, subtitle) = (title.into(), subtitle.into());
        Self { title, subtitle, sections: vec![], pictures: vec![], body: String::new() }
    }

    /// Starts a section.
    pub fn section(&mut self, heading: &str) -> &mut Self {
        self.sections.push(heading.to_owned());
        let (number, heading) = (self.sections.len(), inline(heading));
        self.add(format_args!("<h2 id=\"section-{number}\">{heading}</h2>"))
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        self.add(format_args!("<p>{}</p>", inline(text)))
    }

    /// Lines as they are, such as a command.
    pub fn code(&mut self, text: &str) -> &mut Self {
        self.add(format_args!("<pre><code>{}</code></pre>", escape(text)))
    }

    /// A row of pictures: (file, caption). Files are named relative to the page.
    pub fn pictures(&mut self, pictures: &[(&str, &str)]) -> &mut Self {
        let row = pictures.iter().fold(String::new(), |row, (file, caption)| {
            self.pictures.push((*file).to_owned());
            let (url, alt, caption) = (address(file), escape(caption), inline(caption));
            row + &format!(
                "<figure><a href=\"{url}\"><img src=\"{url}\" alt=\"{alt}\"></a>\
                 <figcaption>{caption}</figcaption></figure>\n"
            )
        });
        self.add(format_args!("<div class=\"row\">\n{row}</div>"))
    }

    /// A table. A column whose cells all are numbers, with or without unit, is aligned to the right.
    pub fn table<H: AsRef<str>, C: AsRef<str>>(&mut self, headers: &[H], rows: &[Vec<C>]) -> &mut Self {
        let column = |index: usize| rows.iter().filter_map(move |row| row.get(index)).map(AsRef::as_ref);
        let numeric: Vec<bool> = (0..headers.len())
            .map(|index| {
                column(index).all(is_number) && column(index).any(|cell| cell.contains(char::is_numeric))
            })
            .collect();
        let line = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.enumerate().map(|(index, cell)| {
                let class = if numeric.get(index) == Some(&true) { " class=\"number\"" } else { "" };
                format!("<{tag}{class}>{}</{tag}>", inline(cell))
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let head = line("th", &mut headers.iter().map(AsRef::as_ref));
        let body: String = rows.iter().map(|row| line("td", &mut row.iter().map(AsRef::as_ref))).collect();
        self.add(format_args!(
            "<div class=\"scroll\"><table>\n<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>"
        ))
    }

    /// A list of checks: (what is checked, whether it passed, the figures).
    pub fn checks(&mut self, checks: &[(&str, bool, &str)]) -> &mut Self {
        let items = checks.iter().fold(String::new(), |items, (what, passed, detail)| {
            let (class, mark) = if *passed { ("pass", "pass") } else { ("fail", "FAIL") };
            let (what, detail) = (inline(what), inline(detail));
            items
                + &format!(
                    "<li class=\"{class}\"><b>{mark}</b><span>{what}</span><span class=\"detail\">{detail}</span></li>\n"
                )
        });
        self.add(format_args!("<ul class=\"checks\">\n{items}</ul>"))
    }

    /// Writes `report.html` into the folder of its pictures and returns the path. A picture that is not there is
    /// an error.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        for picture in &self.pictures {
            let path = folder.join(picture);
            ensure!(path.is_file(), "the report shows {}, which is not there", path.display());
        }
        let path = folder.join("report.html");
        std::fs::write(&path, self.html()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn html(&self) -> String {
        let (title, subtitle, body) = (escape(&self.title), inline(&self.subtitle), &self.body);
        let link = |(index, heading): (usize, &String)| {
            format!("<a href=\"#section-{}\">{}</a>\n", index + 1, inline(heading))
        };
        // A page of one or two sections needs no list of them.
        let links: String = match self.sections.len() {
            0..3 => String::new(),
            _ => format!("<nav>\n{}</nav>\n", self.sections.iter().enumerate().map(link).collect::<String>()),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
             <p class=\"subtitle\">{subtitle}</p>\n{links}</header>\n<main>\n{body}</main>\n</body>\n</html>\n"
        )
    }

    fn add(&mut self, part: std::fmt::Arguments) -> &mut Self {
        writeln!(self.body, "{part}").expect("a string takes every write");
        self
    }
}

const STYLE: &str = include_str!("report.css");

/// Text for HTML, inside elements and inside quoted attributes.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
        escaped
    })
}

/// Escaped text with `code` between pairs of backticks; an odd last backtick stays as it is.
fn inline(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let last = parts.len() - 1;
    let mut marked = String::new();
    for (index, part) in parts.iter().enumerate() {
        let part = escape(part);
        marked += &match (index % 2 == 1, index == last) {
            (true, false) => format!("<code>{part}</code>"),
            (true, true) => format!("`{part}"),
            (false, _) => part,
        };
    }
    marked
}

/// A relative address: what has a meaning in addresses is percent-encoded.
fn address(file: &str) -> String {
    file.bytes().fold(String::new(), |address, byte| match byte {
        b'\\' => address + "/",
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
            address + &char::from(byte).to_string()
        }
        _ => address + &format!("%{byte:02X}"),
    })
}

/// `12`, `-0.5`, `2.04x`, `1.5 MiB`, `95 %`, an empty cell or a dash; not `4 heads of 64` or `2x2`.
fn is_number(cell: &str) -> bool {
    let unsigned = cell.trim().trim_start_matches(['-', '+', '−', '–', '<', '>', '~', ' ']);
    let unit = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || ".,e".contains(c));
    let unit =
        unit.strip_prefix(['-', '+']).map_or(unit, |exponent| exponent.trim_start_matches(char::is_numeric));
    (unsigned.is_empty() || unsigned.starts_with(|c: char| c.is_ascii_digit()))
        && unit.split_whitespace().count() <= 1
        && !unit.contains(char::is_numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_escaped() {
        let hostile = "<b a=\"1\">&'`<i>`";
        let mut report = Report::new(hostile, hostile);
        report.section(hostile).paragraph(hostile).code(hostile);
        report.table(&[hostile], &[vec![hostile]]).checks(&[(hostile, true, hostile)]);
        report.pictures(&[("a\"<b>.png", hostile)]);
        let html = report.html();
        assert!(!html.contains("<b a") && !html.contains("<i>") && !html.contains("\"1\""));
        assert_eq!(escape(hostile), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;`&lt;i&gt;`");
        assert!(html.contains("<code>&lt;i&gt;</code>"));
        assert!(html.contains("src=\"a%22%3Cb%3E.png\""));
    }

    #[test]
    fn backticks_mark_code_in_pairs() {
        assert_eq!(inline("run `a` and `b`"), "run <code>a</code> and <code>b</code>");
        assert_eq!(inline("an odd ` one"), "an odd ` one");
        assert_eq!(inline(""), "");
    }

    #[test]
    fn columns_of_numbers_are_found() {
        for cell in ["12", "-0.5", "2.04x", "1.5 MiB", "95 %", "3e-7", "1,024", "", "–", "< 1e-5"] {
            assert!(is_number(cell), "{cell}");
        }
        for cell in ["4 heads of 64", "2x2", "f16", "portable", "16/4", "head_dim=64"] {
            assert!(!is_number(cell), "{cell}");
        }
        let mut report = Report::new("", "");
        report.table(&["kernel", "ms", "note"], &[vec!["attention", "1.5", ""], vec!["atd", "–", ""]]);
        assert!(report.body.contains("<th>kernel</th><th class=\"number\">ms</th><th>note</th>"));
    }

    #[test]
    fn a_page_is_written_beside_its_pictures() {
        let folder = std::env::temp_dir().join(format!("gristmill-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut report = Report::new("Title", "subtitle");
        report.section("One").pictures(&[("one.png", "first")]);
        let error = report.write(&folder).unwrap_err().to_string();
        assert!(error.contains("one.png"), "{error}");
        std::fs::write(folder.join("one.png"), []).unwrap();
        let html = std::fs::read_to_string(report.write(&folder).unwrap()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(html.contains("<title>Title</title>") && html.contains("src=\"one.png\""));
        assert!(!html.contains("<nav>"));
    }
}
