//! Texts that nobody else may see.

use std::{fmt, path::PathBuf};

use tokio::io::AsyncReadExt;

/// Longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A secret, or where it is kept. Files and variables are read at each use, so that a new one counts at once.
/// Shown, it is `***`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// The file that holds it; a line break at its end is not part of it.
    File(PathBuf),
    /// The environment variable that holds it.
    Variable(String),
}

/// Why a secret cannot be had. Names files and variables, never their contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("the secret's file {} {reason}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The variable is missing, empty or not UTF-8.
    #[error("the environment variable {name} {reason}")]
    Variable {
        /// Which one.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

impl Secret {
    /// The secret as it is now.
    ///
    /// # Errors
    /// [`SecretError`] when there is none where it should be.
    pub async fn reveal(&self) -> Result<String, SecretError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => read(path).await.map_err(|reason| SecretError::File {
                path: path.clone(),
                reason,
            }),
            Self::Variable(name) => variable(name).map_err(|reason| SecretError::Variable {
                name: name.clone(),
                reason,
            }),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

async fn read(path: &PathBuf) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    // Opening a pipe would wait for whoever writes to it.
    if !tokio::fs::metadata(path).await.map_err(cannot)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let file = tokio::fs::File::open(path).await.map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(cannot)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("is longer than {SECRET_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text.to_owned())
}

fn variable(name: &str) -> Result<String, &'static str> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err("is empty"),
        Err(std::env::VarError::NotPresent) => Err("is not set"),
        Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_at_each_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        let missing = secret.reveal().await.unwrap_err().to_string();
        assert!(missing.contains("token cannot be read"), "{missing}");
        std::fs::write(&path, "one\r\n").unwrap();
        assert_eq!(secret.reveal().await.unwrap(), "one");
        std::fs::write(&path, " two ").unwrap();
        assert_eq!(secret.reveal().await.unwrap(), " two ");
        for (bytes, why) in [
            (vec![], "is empty"),
            (b"\n\n".to_vec(), "is empty"),
            (vec![0xff], "is not UTF-8"),
            (vec![b'x'; 70_000], "is longer than 65536 bytes"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = secret.reveal().await.unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
        let folder = Secret::File(folder.path().to_owned());
        let error = folder.reveal().await.unwrap_err().to_string();
        assert!(error.ends_with("is no regular file"), "{error}");
    }

    #[tokio::test]
    async fn variables_are_read_at_each_use() {
        let set = std::env::var("PATH").unwrap();
        assert_eq!(
            Secret::Variable("PATH".to_owned()).reveal().await.unwrap(),
            set
        );
        let missing = Secret::Variable("LONGWATCH_NO_SUCH_VARIABLE".to_owned());
        assert_eq!(
            missing.reveal().await.unwrap_err().to_string(),
            "the environment variable LONGWATCH_NO_SUCH_VARIABLE is not set"
        );
    }

    #[test]
    fn nothing_is_shown() {
        let secret = Secret::Text("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
    }
}
