//! Signs requests: AWS Signature Version 4, as S3 uses it (the path encoded once, the hash of
//! the body in a header of its own).
//!
//! Source: "Signature Version 4 signing process", Amazon S3 API Reference. Pure: the time is an
//! argument.

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest as _, Sha256};

use super::settings::Credentials;

/// What stays as it is in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What stays as it is in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Encodes a key, or a bucket with a key, for a request's path.
pub fn encode_path(path: &str) -> String {
    percent_encode(path.as_bytes(), PATH).to_string()
}

/// Encodes a name or a value for a request's query.
pub fn encode_query(text: &str) -> String {
    percent_encode(text.as_bytes(), QUERY).to_string()
}

/// Makes a query: sorted and encoded, as it is signed and as it is sent.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (encode_query(name), encode_query(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
    pairs.join("&")
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn keyed(key: &[u8], message: &str) -> [u8; 32] {
    // A key of any length is good.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

/// A request as far as it is signed.
pub struct Unsigned<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Encoded.
    pub path: &'a str,
    /// Encoded and sorted.
    pub query: &'a str,
    /// Lower-case names with values; `host` among them, the ones made here not.
    pub headers: &'a [(&'a str, String)],
    /// SHA-256 of the body in hex.
    pub body: &'a str,
}

/// The headers that make a request ours, at a time such as `20130524T000000Z`.
pub fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    region: &str,
    time: &str,
) -> Vec<(&'static str, String)> {
    let mut made = vec![
        ("x-amz-content-sha256", request.body.to_owned()),
        ("x-amz-date", time.to_owned()),
    ];
    if let Some(token) = &credentials.session_token {
        made.push(("x-amz-security-token", token.clone()));
    }
    let mut all: Vec<(&str, &str)> = request
        .headers
        .iter()
        .chain(&made)
        .map(|(name, value)| (*name, value.trim()))
        .collect();
    all.sort_unstable();
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = all.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method, request.path, request.query, request.body
    );
    let day = time.get(..8).unwrap_or(time);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let hashed = sha256_hex(canonical.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let mut key = keyed(secret.as_bytes(), day);
    for part in [region, "s3", "aws4_request"] {
        key = keyed(&key, part);
    }
    let signature = hex::encode(keyed(&key, &to_sign));
    let id = &credentials.access_key_id;
    made.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}"
        ),
    ));
    made
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The credentials, times and signatures of the worked examples in the S3 API Reference.
    fn example() -> Credentials {
        Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        }
    }

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let mut all = vec![("host", "examplebucket.s3.amazonaws.com".to_owned())];
        all.extend(headers.iter().map(|(n, v)| (*n, (*v).to_owned())));
        let request = Unsigned {
            method,
            path,
            query,
            headers: &all,
            body: &sha256_hex(body),
        };
        let made = sign(&request, &example(), "us-east-1", "20130524T000000Z");
        let (_, value) = made.last().unwrap();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_published_examples_come_out() {
        assert_eq!(
            signature("GET", "/test.txt", "", &[("range", "bytes=0-9")], b""),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = encode_path("/test$file.text");
        assert_eq!(
            signature("PUT", &path, "", &headers, b"Welcome to Amazon S3."),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", &query(&[("lifecycle", "")]), &[], b""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        let listing = query(&[("prefix", "J"), ("max-keys", "2")]);
        assert_eq!(
            signature("GET", "/", &listing, &[], b""),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn every_byte_that_is_not_plain_is_encoded_once() {
        assert_eq!(encode_path("/b/a b/ü+&=~"), "/b/a%20b/%C3%BC%2B%26%3D~");
        assert_eq!(query(&[("b", "/ "), ("a", "")]), "a=&b=%2F%20");
    }
}
