//! Events as emails to members of a workspace.

use std::sync::{Mutex, PoisonError};

use domain::{MemberId, WorkspaceId};
use mail::{Email, MailError, MailSettings};
use store::{EventRow, MemberRow, StoreError, WebhookRow};

use crate::Deps;
use crate::notices::Notice;

/// How mail is sent, and where its readers find the rest.
#[derive(Debug)]
pub struct Mailing {
    settings: MailSettings,
    /// The origin of the console.
    console: String,
    last: Mutex<Option<LastEmail>>,
}

/// What became of the email that this gateway sent last.
#[derive(Debug, Clone)]
pub struct LastEmail {
    pub unix_ms: u64,
    /// What the server said; `None` if it accepted the email.
    pub refusal: Option<String>,
}

impl Mailing {
    pub const fn new(settings: MailSettings, console: String) -> Self {
        Self { settings, console, last: Mutex::new(None) }
    }

    /// Whose name mail is sent in.
    pub fn sender(&self) -> String {
        self.settings.sender.to_string()
    }

    /// Host and port, for the operator.
    pub fn server(&self) -> String {
        self.settings.server.to_string()
    }

    /// For the operator.
    pub fn last(&self) -> Option<LastEmail> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn send(&self, email: Email, unix_ms: u64) -> Result<(), MailError> {
        let sent = self.settings.send(email).await;
        let refusal = sent.as_ref().err().map(|error| error.reply.clone());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastEmail { unix_ms, refusal });
        sent
    }

    fn email(&self, event: &EventRow, to: String) -> Email {
        let Notice { headline, details } = Notice::of(event);
        let details = if details.is_empty() { details } else { format!("{details}\n\n") };
        let console = &self.console;
        let text = format!(
            "{headline}.\n\n{details}Alerts: {console}/alerts\n\n\
             --\nYou receive this email because a webhook of your workspace sends events to you. \
             Change or remove it at {console}/webhooks\n"
        );
        Email { id: event.id.to_string(), to, subject: headline, text }
    }
}

/// Whether the mail server accepted an email.
pub enum Mailed {
    Accepted,
    /// It is tried again.
    Refused(MailError),
    /// The receiver is no longer a member, or never accepted.
    NoMember,
}

impl Deps {
    /// The member who receives a webhook's email; `None` if they left.
    ///
    /// # Errors
    /// The database is away.
    pub async fn mail_receiver(
        &self,
        workspace: WorkspaceId,
        id: MemberId,
    ) -> Result<Option<MemberRow>, StoreError> {
        match self.store.people().get(workspace, id).await {
            Ok(member) => Ok(Some(member).filter(|member| member.accepted_unix_ms.is_some())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn mail_event(&self, webhook: &WebhookRow, event: &EventRow) -> Mailed {
        let refused = |message| Mailed::Refused(MailError::unsent(message));
        let Some(mail) = &self.mail else { return refused("the operator has set no mail server") };
        let Ok(id) = webhook.url.parse() else { return Mailed::NoMember };
        match self.mail_receiver(webhook.workspace, id).await {
            Ok(Some(member)) => {
                let email = mail.email(event, member.person.email);
                match mail.send(email, self.world.clock.unix_ms()).await {
                    Ok(()) => Mailed::Accepted,
                    Err(error) => Mailed::Refused(error),
                }
            }
            Ok(None) => Mailed::NoMember,
            Err(_) => refused("the database is away"),
        }
    }
}
