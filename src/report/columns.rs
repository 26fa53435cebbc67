//! Tables for people: columns that line up, however many rows there are.

use super::paint::removed;
use crate::cores::on_every_core;

/// Columns side by side, the widths fitted; `right` names the columns that are flush right.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; count];
    for row in rows {
        row.iter()
            .zip(&mut widths)
            .for_each(|(cell, width)| *width = visible(cell).max(*width));
    }
    let line = |row: &Vec<String>| {
        let mut text = String::with_capacity(widths.iter().sum::<usize>() + 2 * count);
        // What is flush left is filled up only where something follows.
        let mut owed = 0;
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let seen = visible(cell);
            let pad = width - seen;
            let before = if right.contains(&column) { pad } else { 0 };
            if seen > 0 {
                text.extend(std::iter::repeat_n(' ', owed + before));
                text.push_str(cell);
                owed = 0;
            } else {
                owed += before;
            }
            owed += pad - before + 2;
        }
        text
    };
    on_every_core(rows.len(), 1024, |at, ()| line(&rows[at]))
        .into_iter()
        .flatten()
        .collect()
}

/// Characters that take room when it is printed.
fn visible(cell: &str) -> usize {
    removed(cell).chars().count()
}

#[cfg(test)]
mod tests {
    use super::super::paint::marked;
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let long = marked("31", "long");
        let rows = vec![
            vec!["a".into(), "10".into(), "x".into()],
            vec![long.clone(), "5".into(), "y".into()],
        ];
        assert_eq!(
            columns(&rows, &[1]),
            ["a     10  x".to_owned(), format!("{long}   5  y")]
        );
        // What is written out takes more room.
        assert_eq!(
            columns(
                &[
                    vec!["\x07".into(), "x".into()],
                    vec!["abcdef".into(), "y".into()]
                ],
                &[]
            )[0],
            "\x07   x"
        );
    }
}
