//! The file of bearer tokens.
//!
//! ```toml
//! [[tokens]]
//! name = "grafana"            # for people and logs
//! role = "read"               # read, ingest or admin
//! token = "..."               # or sha256 = "<64 hexadecimal digits>" of it
//!
//! [[tokens]]
//! name = "a7"
//! role = "ingest"
//! agent_id = "a7"             # may write as this agent alone
//! sha256 = "..."
//! ```
//! Read by hand rather than by serde, whose messages quote the value, which may be a token.

use std::{fs, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::access::{AccessError, Role, Token, digest};
use crate::model::AgentId;

/// More is no file of tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shorter ones can be guessed.
const TOKEN_BYTES_ADVISED: usize = 16;

const KEYS: [&str; 5] = ["name", "role", "agent_id", "token", "sha256"];

/// What is wrong, and at which byte.
struct Wrong(usize, String);

pub(super) fn load(path: &Path) -> Result<Vec<Token>, AccessError> {
    let text = read(path).map_err(|source| AccessError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|Wrong(at, why)| AccessError::Invalid {
        path: path.to_owned(),
        line: text.get(..at).unwrap_or(&text).matches('\n').count() + 1,
        why,
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("too large for a file of tokens"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o007 != 0 {
            tracing::warn!(path = %path.display(), "every user of this machine may open the file of tokens; chmod o= it");
        }
    }
    fs::read_to_string(path)
}

fn parse(text: &str) -> Result<Vec<Token>, Wrong> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Wrong(at, error.message().to_owned())
    })?;
    let mut tokens: Vec<Token> = Vec::new();
    for (key, value) in document.get_ref() {
        let at = key.span().start;
        if key.get_ref() != "tokens" {
            return Err(Wrong(at, format!("unknown key `{}`", key.get_ref())));
        }
        let entries = value
            .get_ref()
            .as_array()
            .ok_or_else(|| Wrong(at, "`tokens` must be written as [[tokens]]".to_owned()))?;
        for entry in entries {
            let token = parse_token(entry)?;
            let at = entry.span().start;
            if tokens.iter().any(|other| other.name == token.name) {
                return Err(Wrong(at, format!("name `{}` is given twice", token.name)));
            }
            if let Some(other) = tokens.iter().find(|other| other.sha256 == token.sha256) {
                let why = format!("`{}` has the same token as `{}`", token.name, other.name);
                return Err(Wrong(at, why));
            }
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        return Err(Wrong(0, "the file holds no [[tokens]]".to_owned()));
    }
    Ok(tokens)
}

fn parse_token(entry: &Spanned<DeValue<'_>>) -> Result<Token, Wrong> {
    let start = entry.span().start;
    let table = entry
        .get_ref()
        .as_table()
        .ok_or_else(|| Wrong(start, "`tokens` must be written as [[tokens]]".to_owned()))?;
    let mut texts: [Option<(usize, &str)>; 5] = [None; 5];
    for (key, value) in table {
        let at = key.span().start;
        let slot = KEYS
            .iter()
            .position(|known| known == key.get_ref())
            .ok_or_else(|| Wrong(at, format!("unknown key `{}`", key.get_ref())))?;
        let text = value
            .get_ref()
            .as_str()
            .ok_or_else(|| Wrong(at, format!("`{}` must be a text", KEYS[slot])))?;
        texts[slot] = Some((at, text));
    }
    let [name, role, agent, token, sha256] = texts;
    let missing = |what: &str| Wrong(start, format!("a token without {what}"));
    let (at, name) = name.ok_or_else(|| missing("`name`"))?;
    if name.is_empty() {
        return Err(Wrong(at, "`name` must not be empty".to_owned()));
    }
    let (at, word) = role.ok_or_else(|| missing("`role`"))?;
    let role = match word {
        "read" => Role::Read,
        "ingest" => Role::Ingest,
        "admin" => Role::Admin,
        // The word itself is not quoted: a token may stand in the wrong line.
        _ => {
            return Err(Wrong(
                at,
                "`role` is none of read, ingest, admin".to_owned(),
            ));
        }
    };
    let agent = match agent {
        None => None,
        Some((at, _)) if role != Role::Ingest => {
            let why = "`agent_id` goes with the role ingest alone".to_owned();
            return Err(Wrong(at, why));
        }
        Some((at, id)) => Some(AgentId::new(id).map_err(|why| Wrong(at, why.to_string()))?),
    };
    let sha256 = match (token, sha256) {
        (Some((at, secret)), None) => digest_of(name, secret).map_err(|why| Wrong(at, why))?,
        (None, Some((at, hex))) => parse_hex(hex)
            .ok_or_else(|| Wrong(at, "`sha256` must be 64 hexadecimal digits".to_owned()))?,
        _ => return Err(missing("exactly one of `token` and `sha256`")),
    };
    Ok(Token {
        name: name.to_owned(),
        role,
        agent,
        sha256,
    })
}

fn digest_of(name: &str, secret: &str) -> Result<[u8; 32], String> {
    if secret.is_empty() || !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("`token` must be visible ASCII without blanks".to_owned());
    }
    if secret.len() < TOKEN_BYTES_ADVISED {
        tracing::warn!(
            name,
            "this token is short enough to be guessed; take at least {TOKEN_BYTES_ADVISED} random characters"
        );
    }
    Ok(digest(secret))
}

fn parse_hex(hex: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Vec<Token>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, text).unwrap();
        load(&path).map_err(|e| e.to_string().replace(&format!("{}:", path.display()), ""))
    }

    #[test]
    fn both_forms_are_one_token() {
        let hex: String = digest("s3cret-s3cret-s3cret")
            .iter()
            .flat_map(|b| [b >> 4, b & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        let tokens = load_text(&format!(
            "[[tokens]]\nname = 'a'\nrole = 'ingest'\nagent_id = 'a7'\nsha256 = '{hex}'\n\
             [[tokens]]\nname = 'b'\nrole = 'admin'\ntoken = 'other-other-other'\n"
        ))
        .unwrap();
        assert_eq!(tokens[0].sha256, digest("s3cret-s3cret-s3cret"));
        assert_eq!(tokens[0].agent, Some(AgentId::new("a7").unwrap()));
        assert_eq!(
            (tokens[1].role, tokens[1].agent.clone()),
            (Role::Admin, None)
        );
    }

    #[test]
    fn errors_name_the_line_and_never_the_token() {
        let head = "[[tokens]]\nname = 'a'\n";
        for (text, expected) in [
            ("", "1: the file holds no [[tokens]]"),
            ("[token]\n", "1: unknown key `token`"),
            ("tokens = 3\n", "1: `tokens` must be written as [[tokens]]"),
            ("[[tokens]]\nrole = 'read'\n", "1: a token without `name`"),
            (&format!("{head}rol = 'read'\n"), "3: unknown key `rol`"),
            (
                &format!("{head}role = 'SECRET'\n"),
                "3: `role` is none of read, ingest, admin",
            ),
            (
                &format!("{head}role = 'read'\ntoken = 1234567\n"),
                "4: `token` must be a text",
            ),
            (
                &format!("{head}role = 'read'\ntoken = 'SECRET with blanks'\n"),
                "4: `token` must be visible ASCII without blanks",
            ),
            (
                &format!("{head}role = 'read'\nsha256 = 'SECRET'\n"),
                "4: `sha256` must be 64 hexadecimal digits",
            ),
            (
                &format!("{head}role = 'read'\nagent_id = 'x'\ntoken = 't'\n"),
                "4: `agent_id` goes with the role ingest alone",
            ),
            (
                &format!("{head}role = 'read'\n"),
                "1: a token without exactly one of `token` and `sha256`",
            ),
            (
                &format!(
                    "{head}role = 'read'\ntoken = 'SECRET'\n\n{head}role = 'read'\ntoken = 'x'\n"
                ),
                "6: name `a` is given twice",
            ),
        ] {
            let error = load_text(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.contains("SECRET") && !error.contains("1234567"));
        }
        let broken = load_text(&format!("{head}token = 'SECRET\n")).unwrap_err();
        assert!(
            broken.starts_with("3: ") && !broken.contains("SECRET"),
            "{broken}"
        );
        assert!(
            load(Path::new("/nowhere/tokens.toml"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/tokens.toml")
        );
    }
}
