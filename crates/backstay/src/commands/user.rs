//! `backstay user`: people who sign in with a login and a password.

use std::io::Read as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use api::{NewPassword, NewUser, Tenant, User, UserWithPassword};
use clap::{Args, Subcommand};
use domain::identity::MAX_SECRET;
use domain::{Code, Error, Role};

use super::{Context, access_cell, done, joined_roles, roles};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::problem::Problem;
use crate::{format, resolve};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Let a person in; a password that was made is shown this once
    #[command(after_help = "Example: backstay user create ops@example.com --role operator --tenant acme")]
    Create(CreateArgs),
    /// List people, revoked ones too
    #[command(after_help = "Example: backstay user list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Give a person another password; one that was made is shown this once
    #[command(after_help = "Example: backstay user password ops@example.com")]
    Password {
        #[command(flatten)]
        user: UserArg,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Revoke a person's access: from now on neither the password nor access tokens are accepted
    #[command(after_help = "Example: backstay user revoke ops@example.com")]
    Revoke(UserArg),
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name for signing in
    login: String,
    /// The name to show; the login where none is given
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// What the person may do; can be given several times
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = roles())]
    roles: Vec<Role>,
    /// The tenant that is open to the person, with all below; your own where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UserArg {
    /// The person, by login or id
    #[arg(value_name = "USER")]
    user: String,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Read the password from standard input; a line break at its end does not count
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    /// The password that was chosen; none = the server makes one.
    fn read(&self) -> Result<Option<String>> {
        self.password_stdin.then(|| password_in(std::io::stdin().lock())).transpose()
    }
}

/// A password out of a file or pipe. Whether it is good enough is the server's to say.
fn password_in(input: impl std::io::Read) -> Result<String> {
    let mut text = String::new();
    // A little more than is accepted, so that too long a one is refused and not cut.
    let limit = u64::try_from(MAX_SECRET).unwrap_or(u64::MAX).saturating_add(3);
    input.take(limit).read_to_string(&mut text).context("cannot read the password from standard input")?;
    let password = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        let error = Error::new(Code::MissingField, "there is no password on standard input").field("password");
        return Err(Problem::from(error.hint("write it there, or leave --password-stdin out to have one made")).into());
    }
    Ok(password.to_owned())
}

pub(crate) async fn run(command: UserCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        UserCommand::Create(args) => create(args, ctx).await,
        UserCommand::List { page } => list(&page, ctx).await,
        UserCommand::Password { user, password } => {
            let user = resolve::one::<User>(&ctx.client, &user.user).await?;
            let answer = ctx.client.set_password(user.id, &NewPassword { password: password.read()? }).await?;
            let told = format!("the password of '{}' is changed", answer.user.login);
            tell(&answer, &told, ctx)
        }
        UserCommand::Revoke(arg) => {
            let user = resolve::one::<User>(&ctx.client, &arg.user).await?;
            let user = ctx.client.revoke_user(user.id).await?;
            if ctx.out.json {
                ctx.out.json(&user)?;
            } else {
                ctx.out.line(format::clean_line(&format!("the user '{}' is no longer let in", user.login)))?;
            }
            done()
        }
    }
}

async fn create(args: CreateArgs, ctx: &Context) -> Result<ExitCode> {
    let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?;
    let new = NewUser {
        login: args.login,
        name: args.name,
        roles: args.roles,
        tenant: tenant.map(|t| t.id),
        password: args.password.read()?,
    };
    let answer = ctx.client.create_user(&new).await?;
    let told = format!("the user '{}' is let in as {}", answer.user.login, joined_roles(&answer.user.roles));
    tell(&answer, &told, ctx)
}

fn tell(answer: &UserWithPassword, told: &str, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(answer)?;
        return done();
    }
    match &answer.password {
        // Alone on standard output, as the secret of a token is.
        Some(password) => {
            ctx.out.line(password)?;
            ctx.out.note(format::clean_line(&format!("{told}; this is the only time the password is shown")));
        }
        None => ctx.out.line(format::clean_line(told))?,
    }
    done()
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.users(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|u| u.id).collect::<Vec<_>>());
    let row = |(u, id): (&User, String)| {
        vec![
            Cell::from(&u.login),
            Cell::from(&u.name),
            Cell::from(joined_roles(&u.roles)),
            access_cell(u.revoked_at),
            Cell::from(ctx.out.stamp(u.created_at)),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("user", "users"), &["LOGIN", "NAME", "ROLES", "STATE", "CREATED", "ID"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_or_a_whole_file() {
        let read = |text: &str| password_in(text.as_bytes()).ok();
        assert_eq!(read("correct horse\n").as_deref(), Some("correct horse"));
        assert_eq!(read("correct horse\r\n").as_deref(), Some("correct horse"));
        assert_eq!(read(" blanks stay \n\n").as_deref(), Some(" blanks stay \n"));
        assert_eq!((read(""), read("\n")), (None, None));
        assert!(
            read(&"a".repeat(5000)).is_some_and(|p| p.len() > MAX_SECRET),
            "refused by the server, never cut to fit"
        );
    }
}
