//! The authority: certificates for the coordinator and for agents.
//!
//! Agents are known by the digest of their certificate, which the house keeps; the authority's
//! signature alone opens nothing.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use anyhow::Context as _;
use custody::{
    digest::Digest,
    id::AgentId,
    time::{Span, Time},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use crate::files;

/// The authority of one coordinator.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was issued.
pub struct Issued {
    /// In PEM form.
    pub pem: String,
    /// SHA-256 of its DER form.
    pub digest: Digest,
    /// Its end.
    pub not_after: Time,
}

/// A certificate is good from an hour ago, for who has a slow clock.
fn begin(now: Time) -> Time {
    Time::from_millis(now.millis() - Span::hours(1).millis())
}

fn params(name: &str, from: Time, until: Time) -> anyhow::Result<CertificateParams> {
    let since_1970 = |time: Time| Duration::from_secs(time.millis().unsigned_abs() / 1000);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = epoch + since_1970(from);
    params.not_after = epoch + since_1970(until);
    Ok(params)
}

impl Authority {
    /// Makes a new authority and writes it to `pki/`.
    pub fn create(folder: &Path, now: Time) -> anyhow::Result<()> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("Holdfast authority", begin(now), now + Span::days(3650))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        files::write(
            &folder.join("ca.key"),
            0o600,
            key.serialize_pem().as_bytes(),
        )?;
        files::write(&folder.join("ca.pem"), 0o644, certificate.pem().as_bytes())?;
        Ok(())
    }

    /// Reads the authority.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let certificate = read("ca.pem")?;
        let key = KeyPair::from_pem(&read("ca.key")?).context("pki/ca.key is not a key")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .context("pki/ca.pem is not a certificate")?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// The authority's certificate in PEM form.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A fresh certificate and key, in PEM form, for the coordinator itself.
    pub fn coordinator(&self, names: &[String], now: Time) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("Holdfast coordinator", begin(now), now + Span::days(397))?;
        params.subject_alt_names = names
            .iter()
            .map(|name| {
                Ok(match name.parse::<IpAddr>() {
                    Ok(address) => rcgen::SanType::IpAddress(address),
                    Err(_) => rcgen::SanType::DnsName(name.as_str().try_into()?),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// A certificate for an agent's own key. Nothing but the key is taken from its request.
    pub fn agent(
        &self,
        agent: &AgentId,
        csr: &[u8],
        now: Time,
        hours: u32,
    ) -> anyhow::Result<Issued> {
        let mut request = CertificateSigningRequestParams::from_der(&csr.into())
            .context("the certificate request cannot be read")?;
        // Whole seconds, as the certificate has them.
        let not_after = Time::from_millis(now.millis() / 1000 * 1000) + Span::hours(hours.into());
        request.params = params(&agent.to_string(), begin(now), not_after)?;
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = request.signed_by(&self.issuer)?;
        Ok(Issued {
            pem: certificate.pem(),
            digest: Digest::of(certificate.der()),
            not_after,
        })
    }
}
