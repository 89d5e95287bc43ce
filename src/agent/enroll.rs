//! Gets a certificate for a token: the agent's end of the one exchange on `/v1/enroll`. The key is durable before
//! anything is sent, so that a crash at any point can be followed by the same request.

use rcgen::CertificateParams;
use tokio::time::timeout;

use super::{
    enrollment_file::EnrollmentFile,
    identity::{Identity, IdentityError, IdentityFolder},
    proxies::Way,
};
use crate::{
    trust::{BrokenChain, Trust},
    tunnel::{
        ENROLL_PATH, ENROLL_SUBPROTOCOL,
        channel::{Channel, ChannelError, Event},
        dial::{DialError, Target, dial},
        limits::HELLO_DEADLINE,
        tls::{self, TlsError},
    },
    wire::tunnel_v1::{EnrollRequest, EnrollResponse, enroll_response},
};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// No connection.
    #[error("enroll: {0}")]
    Dial(#[from] DialError),
    /// The connection ended before the answer.
    #[error("enroll: the operator did not answer: {0}")]
    Unanswered(String),
    /// The operator's answer is no.
    #[error("enroll: refused: {reason}: {message}")]
    Refused {
        /// CamelCase.
        reason: String,
        /// For a person.
        message: String,
        /// Whether the same request may succeed later.
        retry: bool,
    },
    /// Key, certificate or files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Whom to believe.
    #[error("enroll: {0}")]
    Trust(#[from] BrokenChain),
    /// The authority in the enrollment file.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EnrollError {
    /// Whether only another enrollment file can help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { retry: false, .. })
    }
}

impl From<ChannelError> for EnrollError {
    fn from(error: ChannelError) -> Self {
        Self::Unanswered(error.to_string())
    }
}

/// Shows the token, and adopts the certificate that comes.
pub async fn enroll(folder: &IdentityFolder, file: &EnrollmentFile, way: &Way) -> Result<Identity, EnrollError> {
    let key = folder.key_for(&file.token_digest())?;
    // Only the key counts: what the certificate names is the operator's to say.
    let request = CertificateParams::default().serialize_request(&key).map_err(IdentityError::Key)?;
    let tls = tls::client(&file.authority_pem, None)?;
    let proxy = way.proxies.to(&file.endpoint);
    let target = Target {
        endpoint: &file.endpoint,
        proxy: proxy.as_ref(),
        tls,
        path: ENROLL_PATH,
        subprotocol: ENROLL_SUBPROTOCOL,
    };
    let socket = dial(target, way.additional_ca.as_ref()).await?;
    let mut channel: Channel<_, EnrollResponse, EnrollRequest> = Channel::new(socket, HELLO_DEADLINE * 2);
    channel.send(&EnrollRequest {
        namespace: file.namespace.clone(),
        name: file.name.clone(),
        token: file.token.clone(),
        certificate_request: request.der().to_vec().into(),
    })?;
    let answer = async {
        loop {
            match channel.next().await? {
                Event::Message(response) => return Ok(response),
                Event::Sent | Event::Heartbeat => {}
                Event::Closed => return Err(EnrollError::Unanswered("it closed".to_owned())),
            }
        }
    };
    let response = timeout(HELLO_DEADLINE * 2, answer)
        .await
        .map_err(|_| EnrollError::Unanswered(format!("within {} s", HELLO_DEADLINE.as_secs() * 2)))??;
    channel.close(None).await;
    match response.result {
        Some(enroll_response::Result::Enrolled(enrolled)) => {
            let trust = enrolled.trust.as_ref().map(Trust::begin).transpose()?;
            Ok(folder.adopt(file, &enrolled.uid, &enrolled.certificate, trust.as_ref())?)
        }
        Some(enroll_response::Result::Refused(refused)) => {
            let short = |text: String| text.chars().take(500).collect::<String>();
            let (reason, message) = (short(refused.reason), short(refused.message));
            Err(EnrollError::Refused { reason, message, retry: refused.retry })
        }
        None => Err(EnrollError::Unanswered("it sent an answer that this version does not know".to_owned())),
    }
}
