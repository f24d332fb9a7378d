//! Certificate and key.

use std::{path::Path, sync::Arc};

use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use super::{TlsFiles, server::ServerError};

/// Reads both files. Errors name the file and never hold anything of the key.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServerError> {
    let wrong = |path: &Path, why: String| ServerError::Tls {
        path: path.to_owned(),
        why,
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| wrong(&files.cert, pem_fault(&why)))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, "holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|why| wrong(&files.key, pem_fault(&why)))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|why| {
            wrong(
                &files.key,
                format!("does not serve {}: {why}", files.cert.display()),
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Some of the reader's messages quote the line, which may be of the key.
fn pem_fault(why: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match why {
        Error::Io(why) => why.to_string(),
        Error::NoItemsFound => "holds nothing of that kind in PEM form".to_owned(),
        _ => "is no PEM file".to_owned(),
    }
}
