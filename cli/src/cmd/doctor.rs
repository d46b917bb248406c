//! `doctor`: what is wrong on this side, one line a thing, with the next step.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::Serialize;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    args::Global,
    connect::{causes, host_and_port, patient},
    exit::{Outcome, Trouble},
    profile::{Place, Profile},
    session::{Session, now, read_authority},
    show::{Screen, View, text},
    sign,
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    ok: bool,
    says: String,
    next: Option<String>,
}

impl View for Check {
    const PLURAL: &'static str = "checks";
    const COLUMNS: &'static [&'static str] = &["check", "ok", "says", "next step"];

    fn row(&self, _: &Screen) -> Vec<String> {
        vec![
            self.check.to_owned(),
            if self.ok { "yes" } else { "NO" }.to_owned(),
            self.says.clone(),
            self.next.clone().unwrap_or_default(),
        ]
    }
}

fn good(check: &'static str, says: impl Into<String>) -> Check {
    Check {
        check,
        ok: true,
        says: says.into(),
        next: None,
    }
}

fn bad(check: &'static str, says: impl Into<String>, next: impl Into<String>) -> Check {
    Check {
        check,
        ok: false,
        says: says.into(),
        next: Some(next.into()),
    }
}

fn of_trouble(check: &'static str, trouble: &Trouble) -> Check {
    bad(check, trouble.message.clone(), "see there")
}

/// Looks at everything and ends with 1 when something is wrong.
pub async fn run(global: &Global) -> Outcome {
    let mut checks = Vec::new();
    look(global, &mut checks).await;
    Screen::new(global).list(&checks);
    match checks.iter().filter(|check| !check.ok).count() {
        0 => Ok(()),
        wrong => Err(Trouble::failed(
            "doctor",
            format!(
                "{} not as it should be.",
                text::count(wrong as u64, "thing")
            ),
        )),
    }
}

async fn look(global: &Global, checks: &mut Vec<Check>) {
    let place = match Place::of(&global.profile) {
        Ok(place) => place,
        Err(trouble) => return checks.push(of_trouble("profile", &trouble)),
    };
    let mut profile = match place.read() {
        Ok(profile) => profile,
        Err(trouble) => return checks.push(of_trouble("profile", &trouble)),
    };
    if let Some(server) = &global.server {
        profile.server.clone_from(server);
    }
    checks.push(good("profile", place.file("toml").display().to_string()));
    checks.push(match profile.verifier() {
        Ok(key) => good("log key", format!("pinned to {}", key.name())),
        Err(trouble) => of_trouble("log key", &trouble),
    });
    checks.push(key(&profile));
    match certificate(&profile).await {
        Ok(found) => checks.push(found),
        Err(trouble) => return checks.push(of_trouble("connection", &trouble)),
    }
    match Session::open(global).await {
        Err(trouble) => checks.push(of_trouble("log-in", &trouble)),
        Ok(mut session) => {
            checks.push(good("log-in", format!("you are {}", session.person)));
            let size = session.seen().size;
            checks.push(good(
                "checkpoint",
                format!("{size} entries, verified and kept"),
            ));
            checks.push(match clock(&mut session).await {
                Ok(check) => check,
                Err(trouble) => of_trouble("clock", &trouble),
            });
        }
    }
}

fn key(profile: &Profile) -> Check {
    let key = match sign::public_of(&profile.key) {
        Ok(key) => key,
        Err(trouble) => return of_trouble("SSH key", &trouble),
    };
    let fingerprint = key.fingerprint();
    let agent = match sign::agent_keys() {
        Ok(None) => "no ssh-agent".to_owned(),
        Ok(Some(n)) => match sign::from_agent(&key) {
            Ok(Some(_)) => "in the ssh-agent".to_owned(),
            _ => format!(
                "not among the {} of the ssh-agent",
                text::count(n as u64, "key")
            ),
        },
        Err(trouble) => return of_trouble("SSH key", &trouble),
    };
    let has_private =
        std::fs::read_to_string(&profile.key).is_ok_and(|text| text.contains("PRIVATE KEY-----"));
    if !has_private && agent != "in the ssh-agent" {
        return bad(
            "SSH key",
            format!("{fingerprint}: {agent}, and its private half is not at hand"),
            "add it with `ssh-add`",
        );
    }
    good("SSH key", format!("{fingerprint} ({agent})"))
}

/// Looks at the coordinator's certificate with the same trust as every other command.
async fn certificate(profile: &Profile) -> Outcome<Check> {
    let (host, port) = host_and_port(&profile.server)?;
    let authority = read_authority(&profile.authority)?;
    let failed = |why: String| {
        Trouble::failed(
            "unreachable",
            format!(
                "Cannot reach the coordinator at {}: {why}. Check the address, the network and \
                 that it runs.",
                profile.server
            ),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.clone()).map_err(|error| failed(error.to_string()))?;
    let shake = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    let stream = timeout(std::time::Duration::from_secs(10), shake)
        .await
        .map_err(|_| failed("it does not answer".to_owned()))?
        .map_err(|error| failed(causes(&error)))?;
    let (_, connection) = stream.get_ref();
    let end = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(|certificate| x509_parser::parse_x509_certificate(certificate).ok())
        .map(|(_, certificate)| certificate.validity().not_after.timestamp())
        .ok_or_else(|| failed("it shows no readable certificate".to_owned()))?;
    let end = custody::time::Time::from_millis(end.saturating_mul(1000));
    let left = (end - now()).millis() / 86_400_000;
    let says = format!(
        "{}, its certificate ends {}",
        profile.server,
        text::time(&end)
    );
    Ok(if left < 14 {
        bad(
            "connection",
            format!("{says}: in {left} days"),
            "have the coordinator's renewed",
        )
    } else {
        good("connection", says)
    })
}

/// Compares the clocks as far as the log allows: the coordinator cannot have received its newest
/// entry after now.
async fn clock(session: &mut Session) -> Outcome<Check> {
    let Some(index) = session.seen().size.checked_sub(1) else {
        return Ok(good("clock", "the log is empty"));
    };
    let asked = patient(proto::v1::GetEntryRequest { index });
    let newest = session.services.ledger.get_entry(asked).await?.into_inner();
    let behind = (newest.received_unix_ms - now().millis()) / 1000;
    Ok(if behind > 5 {
        bad(
            "clock",
            format!("this machine's clock is at least {behind} seconds behind the coordinator's"),
            "set it right with NTP",
        )
    } else {
        good("clock", "not behind the coordinator's")
    })
}
