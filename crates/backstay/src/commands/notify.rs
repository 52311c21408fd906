//! `backstay notify`: who is told when something fails, is missed, or goes well again.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use api::{
    NewNotificationChannel, NotificationChannel, NotificationChannelChange, NotificationChannelCreated,
    NotificationTarget, Tenant,
};
use clap::{Args, Subcommand};
use domain::SignedDuration;
use domain::channel::Event;

use super::{Context, done, joined};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::problem::{Exit, Problem};
use crate::{format, resolve, times};

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Tell a webhook or mailboxes what happens from now on in a tenant and below it
    #[command(after_help = "\
Examples:
  backstay notify add ops --webhook https://hooks.example/backstay
  backstay notify add mail --email ops@example.com --smtp smtp://mail.example --from backstay@example.com \\
    --user backstay --password-file smtp.password
  backstay notify add boss --email boss@example.com --smtp smtps://mail.example --from backstay@example.com --digest 1d")]
    Add(AddArgs),
    /// List channels, and how far each is
    #[command(after_help = "Example: backstay notify list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show one channel; its secret or password is not shown
    #[command(after_help = "Example: backstay notify show ops")]
    Show(ChannelArg),
    /// Change a channel; what could not be delivered is tried again at once
    #[command(after_help = "Example: backstay notify change ops --event failure --event missed --digest 1h")]
    Change(ChangeArgs),
    /// Remove a channel; what waits is told nobody
    #[command(after_help = "Example: backstay notify remove ops")]
    Remove(ChannelArg),
    /// Send a message that says that it is a test
    #[command(after_help = "Example: backstay notify test ops")]
    Test(ChannelArg),
}

#[derive(Debug, Args)]
pub(crate) struct ChannelArg {
    /// The channel, by name or id
    #[arg(value_name = "CHANNEL")]
    channel: String,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Send signed messages to this address
    #[arg(long, value_name = "URL", conflicts_with_all = ["email", "smtp", "from", "user", "password_file"])]
    webhook: Option<String>,
    /// Send e-mail to this address; can be given several times
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// The server that e-mail is given to: smtp://HOST:PORT (TLS by STARTTLS) or smtps://HOST:PORT
    #[arg(long, value_name = "URL")]
    smtp: Option<String>,
    /// The address that e-mail comes from
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Who signs in at the server
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A file with the password; - is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name, unique in the tenant
    name: String,
    #[command(flatten)]
    target: TargetArgs,
    /// The tenant in which and below which things happen; your own where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// What to tell of: failure, missed or recovery; can be given several times, everything where none is named
    #[arg(long = "event", value_name = "EVENT", value_parser = events())]
    events: Vec<Event>,
    /// Collect what happens for so long, and tell it in one message
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    digest: Option<SignedDuration>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    channel: ChannelArg,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// Sign in at the server no longer
    #[arg(long, conflicts_with_all = ["webhook", "user", "password_file"])]
    no_user: bool,
    /// Give a webhook another secret, which is shown this once
    #[arg(long)]
    new_secret: bool,
    /// Tell only of this: failure, missed or recovery; can be given several times
    #[arg(long = "event", value_name = "EVENT", value_parser = events())]
    events: Vec<Event>,
    /// Collect what happens for so long, and tell it in one message
    #[arg(long, value_name = "DURATION", value_parser = times::duration, conflicts_with = "no_digest")]
    digest: Option<SignedDuration>,
    /// Tell everything at once
    #[arg(long)]
    no_digest: bool,
    /// Tell again, from now on
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Tell nothing any more; what happens meanwhile is not told later
    #[arg(long)]
    disable: bool,
}

pub(crate) async fn run(command: NotifyCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        NotifyCommand::Add(args) => add(args, ctx).await,
        NotifyCommand::List { page } => list(&page, ctx).await,
        NotifyCommand::Show(arg) => show(&arg.find(ctx).await?, ctx),
        NotifyCommand::Change(args) => change(args, ctx).await,
        NotifyCommand::Remove(arg) => {
            let channel = arg.find(ctx).await?;
            ctx.client.remove_notification_channel(channel.id).await?;
            if !ctx.out.json {
                ctx.out.line(format::clean_line(&format!("the channel '{}' is gone", channel.name)))?;
            }
            done()
        }
        NotifyCommand::Test(arg) => test(&arg.find(ctx).await?, ctx).await,
    }
}

impl ChannelArg {
    async fn find(&self, ctx: &Context) -> Result<NotificationChannel> {
        resolve::one(&ctx.client, &self.channel).await
    }
}

impl TargetArgs {
    fn password(&self) -> Result<Option<String>> {
        let Some(file) = &self.password_file else { return Ok(None) };
        let read = if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(file)
        };
        let text = read.with_context(|| format!("cannot read the password in {}", file.display()))?;
        Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Where messages go, with what stays of where they went; none where nothing is said.
    fn target(self, now: Option<&NotificationTarget>, no_user: bool) -> Result<Option<NotificationTarget>> {
        let password = self.password()?;
        if let Some(url) = self.webhook {
            return Ok(Some(NotificationTarget::Webhook { url }));
        }
        let said = self.smtp.is_some() || self.from.is_some() || self.user.is_some() || password.is_some();
        if !said && !no_user && self.email.is_empty() {
            return Ok(None);
        }
        let (server, user, from, to) = match now {
            Some(NotificationTarget::Email { server, user, from, to, .. }) => {
                (Some(server.clone()), user.clone().filter(|_| !no_user), Some(from.clone()), to.clone())
            }
            _ => (None, None, None, Vec::new()),
        };
        let needed = |option: &str, value: Option<String>| -> Result<String> {
            let missing = || Problem::new(Exit::Failure, format!("e-mail needs {option}"));
            value.ok_or_else(|| missing().hint("see `backstay notify add --help`").into())
        };
        Ok(Some(NotificationTarget::Email {
            server: needed("--smtp", self.smtp.or(server))?,
            user: self.user.or(user),
            password,
            from: needed("--from", self.from.or(from))?,
            to: if self.email.is_empty() { to } else { self.email },
        }))
    }
}

async fn add(args: AddArgs, ctx: &Context) -> Result<ExitCode> {
    let Some(target) = args.target.target(None, false)? else {
        let problem = Problem::new(Exit::Failure, "it is not said where messages go");
        return Err(problem.hint("give --webhook URL, or --email ADDRESS with --smtp and --from").into());
    };
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?.map(|t| t.id);
    let events = if args.events.is_empty() { Event::ALL.to_vec() } else { args.events };
    let digest = args.digest.map(|d| format!("{d:#}"));
    let new = NewNotificationChannel { name: args.name, tenant, enabled: true, target, events, digest };
    let created = ctx.client.create_notification_channel(&new).await?;
    tell(&created, ctx)?;
    let name = &created.channel.name;
    ctx.out.note(format::clean_line(&format!("see whether it gets there with: backstay notify test '{name}'")));
    done()
}

async fn change(args: ChangeArgs, ctx: &Context) -> Result<ExitCode> {
    let channel = args.channel.find(ctx).await?;
    let no_digest = args.no_digest.then(|| "0s".to_owned());
    let change = NotificationChannelChange {
        name: args.name,
        enabled: (args.enable || args.disable).then_some(args.enable),
        target: args.target.target(Some(&channel.target), args.no_user)?,
        events: Some(args.events).filter(|events| !events.is_empty()),
        digest: args.digest.map(|d| format!("{d:#}")).or(no_digest),
    };
    let changed = match change == NotificationChannelChange::default() {
        true => channel,
        false => ctx.client.change_notification_channel(channel.id, &change).await?,
    };
    if args.new_secret {
        tell(&ctx.client.rotate_notification_secret(changed.id).await?, ctx)?;
        return done();
    }
    show(&changed, ctx)
}

async fn test(channel: &NotificationChannel, ctx: &Context) -> Result<ExitCode> {
    let answer = ctx.client.test_notification_channel(channel.id).await?;
    if ctx.out.json {
        ctx.out.json(&answer)?;
        return Ok(if answer.delivered { Exit::Ok } else { Exit::Failure }.into());
    }
    match answer.error {
        None => {
            ctx.out.line(format::clean_line(&format!("the channel '{}' took a test message", channel.name)))?;
            done()
        }
        Some(error) => Err(Problem::new(Exit::Failure, format!("the test message was not delivered: {error}")).into()),
    }
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.notification_channels(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|c| c.id).collect::<Vec<_>>());
    let row = |(c, id): (&NotificationChannel, String)| {
        let delivered = c.status.delivered_at.map_or_else(|| "-".to_owned(), |at| ctx.out.stamp(at));
        vec![
            Cell::from(&c.name),
            Cell::from(place(&c.target)),
            Cell::from(events_text(c)),
            state(c),
            Cell::from(c.status.waiting.to_string()),
            Cell::from(delivered),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    let header = ["NAME", "WHERE", "TELLS", "STATE", "WAITING", "DELIVERED", "ID"];
    ctx.list(&list, ("channel", "channels"), &header, rows)
}

/// A channel, and its secret where it was just made.
fn tell(created: &NotificationChannelCreated, ctx: &Context) -> Result<()> {
    if ctx.out.json {
        return ctx.out.json(created);
    }
    details(&created.channel, created.secret.as_deref(), ctx)?;
    if created.secret.is_some() {
        ctx.out.note("messages are signed with this secret; this is the only time it is shown");
    }
    Ok(())
}

fn show(channel: &NotificationChannel, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(channel)?;
    } else {
        details(channel, None, ctx)?;
    }
    done()
}

fn details(channel: &NotificationChannel, secret: Option<&str>, ctx: &Context) -> Result<()> {
    let status = &channel.status;
    let (user, from, to) = match &channel.target {
        NotificationTarget::Email { user, from, to, .. } => (user.clone(), Some(from.clone()), joined(to)),
        NotificationTarget::Webhook { .. } => (None, None, None),
    };
    let stamp = |at: Option<domain::Timestamp>| at.map(|at| Cell::from(ctx.out.stamp(at)));
    ctx.out.details(vec![
        ("name", Some((&channel.name).into())),
        ("where", Some(place(&channel.target).into())),
        ("user", user.map(Cell::from)),
        ("from", from.map(Cell::from)),
        ("to", to),
        ("secret", secret.map(Cell::from)),
        ("tells", Some(events_text(channel).into())),
        ("state", Some(state(channel))),
        ("waiting", Some(status.waiting.to_string().into())),
        ("delivered", stamp(status.delivered_at)),
        ("failing since", stamp(status.trying_since.filter(|_| status.tries > 0))),
        ("next try", stamp(status.next_try_at.filter(|_| status.tries > 0))),
        ("error", status.error.as_deref().map(|error| Cell::toned(format::clean_line(error), Tone::Bad))),
        ("tenant", Some(channel.tenant.to_string().into())),
        ("created", Some(ctx.out.stamp(channel.created_at).into())),
        ("id", Some(channel.id.to_string().into())),
    ])
}

fn place(target: &NotificationTarget) -> String {
    match target {
        NotificationTarget::Webhook { url } => url.clone(),
        NotificationTarget::Email { server, .. } => server.clone(),
    }
}

fn events_text(channel: &NotificationChannel) -> String {
    let events = channel.events.iter().map(|e| e.name()).collect::<Vec<_>>().join(", ");
    match &channel.digest {
        Some(digest) => format!("{events}; every {digest}"),
        None => events,
    }
}

fn state(channel: &NotificationChannel) -> Cell {
    match (channel.enabled, channel.status.tries) {
        (false, _) => Cell::toned("disabled", Tone::Faint),
        (true, 0) => Cell::toned("good", Tone::Good),
        (true, 1) => Cell::toned("failed once", Tone::Bad),
        (true, tries) => Cell::toned(format!("failed {tries} times"), Tone::Bad),
    }
}

/// What can be told of, for clap.
fn events() -> impl clap::builder::TypedValueParser<Value = Event> {
    use clap::builder::TypedValueParser as _;
    let names = clap::builder::PossibleValuesParser::new(Event::NAMES);
    names.try_map(|name| Event::parse(&name).ok_or("no such event"))
}
