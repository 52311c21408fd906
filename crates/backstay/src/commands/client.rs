//! `backstay client`: programs that sign in with an id and a secret.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use api::client::ListQuery;
use api::{ApiClient, ApiClientWithSecret, ClientKey, NewApiClient, Tenant};
use clap::{Args, Subcommand};
use domain::Role;

use super::{Context, access_cell, done, joined_roles, roles};
use crate::cli::PageArgs;
use crate::output::{Cell, Tone, short_ids};
use crate::{format, resolve};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Let a program in; its secret is shown this once
    #[command(after_help = "Example: backstay client create reports --role viewer --tenant acme")]
    Create(CreateArgs),
    /// List programs, revoked ones too
    #[command(after_help = "Example: backstay client list")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Give a program another secret in place of the one it has; it is shown this once
    #[command(after_help = "Example: backstay client rotate reports")]
    Rotate(ClientArg),
    /// Keys with which a program signs in without a secret
    #[command(subcommand)]
    Key(KeyCommand),
    /// Revoke a program's access: from now on neither its secret nor access tokens are accepted
    #[command(after_help = "Example: backstay client revoke reports")]
    Revoke(ClientArg),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and write it to a file, in the form that clients of clouds read; it is shown nowhere else
    #[command(after_help = "Example: backstay client key create terraform --file key.json")]
    Create {
        /// The program, by name or id
        #[arg(value_name = "CLIENT")]
        client: String,
        /// The file, which must not be there yet (mode 0600)
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List the keys of a program, newest first, revoked ones too
    #[command(after_help = "Example: backstay client key list terraform")]
    List {
        /// The program, by name or id
        #[arg(value_name = "CLIENT")]
        client: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Revoke a key: from now on nothing that is signed under it is accepted
    #[command(after_help = "Example: backstay client key revoke terraform 0193a4b2-7c11")]
    Revoke {
        /// The program, by name or id
        #[arg(value_name = "CLIENT")]
        client: String,
        /// The key, by id or the beginning of it
        #[arg(value_name = "KEY")]
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for; shown as "started by"
    name: String,
    /// What it may do; can be given several times
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = roles())]
    roles: Vec<Role>,
    /// The tenant that is open to it, with all below; your own where none is named
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The only executor it may act for when it takes tasks; any where none is named
    #[arg(long, value_name = "ID")]
    executor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArg {
    /// The program, by name or id
    #[arg(value_name = "CLIENT")]
    client: String,
}

pub(crate) async fn run(command: ClientCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        ClientCommand::Create(args) => {
            let tenant = resolve::maybe::<Tenant>(&ctx.client, args.tenant.as_deref()).await?;
            let tenant = tenant.map(|t| t.id);
            let new = NewApiClient { name: args.name, roles: args.roles, tenant, executor: args.executor };
            tell(&ctx.client.create_client(&new).await?, ctx)
        }
        ClientCommand::List { page } => list(&page, ctx).await,
        ClientCommand::Rotate(arg) => {
            let client = resolve::one::<ApiClient>(&ctx.client, &arg.client).await?;
            tell(&ctx.client.rotate_client_secret(client.id).await?, ctx)
        }
        ClientCommand::Key(command) => key(command, ctx).await,
        ClientCommand::Revoke(arg) => {
            let client = resolve::one::<ApiClient>(&ctx.client, &arg.client).await?;
            let client = ctx.client.revoke_client(client.id).await?;
            if ctx.out.json {
                ctx.out.json(&client)?;
            } else {
                ctx.out.line(format::clean_line(&format!("the client '{}' is no longer let in", client.name)))?;
            }
            done()
        }
    }
}

/// The id and the secret, and what to do with them.
fn tell(answer: &ApiClientWithSecret, ctx: &Context) -> Result<ExitCode> {
    if ctx.out.json {
        ctx.out.json(answer)?;
        return done();
    }
    let id = answer.client.id.to_string();
    ctx.out.details(vec![("client id", Some((&id).into())), ("secret", Some((&answer.secret).into()))])?;
    let roles = joined_roles(&answer.client.roles);
    ctx.out.note(format!("let in as {roles}; this is the only time the secret is shown"));
    // Without the secret, which curl asks for: what stands on a command line can be seen by others.
    let server = ctx.client.base_url();
    let ca = ctx.ca_file.as_ref().filter(|_| server.starts_with("https:"));
    let ca = ca.map(|path| format!("--cacert {} ", quoted(&path.display().to_string()))).unwrap_or_default();
    ctx.out.note(format!(
        "get an access token with: curl {ca}--user {id} --data grant_type=client_credentials {}",
        quoted(&format!("{server}/api/2/idp/token"))
    ));
    done()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", format::clean_line(word).replace('\'', r"'\''")),
    }
}

async fn list(page: &PageArgs, ctx: &Context) -> Result<ExitCode> {
    let list = ctx.client.clients(&page.query()).await?;
    let ids = short_ids(&list.items.iter().map(|c| c.id).collect::<Vec<_>>());
    let row = |(c, id): (&ApiClient, String)| {
        vec![
            Cell::from(&c.name),
            Cell::from(joined_roles(&c.roles)),
            Cell::from(c.executor.as_deref().unwrap_or("-")),
            access_cell(c.revoked_at),
            Cell::from(ctx.out.stamp(c.created_at)),
            Cell::toned(id, Tone::Faint),
        ]
    };
    let rows = list.items.iter().zip(ids).map(row).collect();
    ctx.list(&list, ("client", "clients"), &["NAME", "ROLES", "EXECUTOR", "STATE", "CREATED", "ID"], rows)
}

async fn key(command: KeyCommand, ctx: &Context) -> Result<ExitCode> {
    match command {
        KeyCommand::Create { client, file } => {
            let client = resolve::one::<ApiClient>(&ctx.client, &client).await?;
            // Before the key is made, which would be lost if it had no place.
            let place = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
            let mut place = place.with_context(|| format!("cannot make the file {}", file.display()))?;
            let made = async {
                let key = ctx.client.create_client_key(client.id).await?;
                serde_json::to_writer_pretty(&mut place, &key)?;
                writeln!(place)?;
                place.sync_all()?;
                anyhow::Ok(key)
            };
            let key = match made.await {
                Ok(key) => key,
                Err(error) => {
                    // Nothing of use is in it.
                    let _ = std::fs::remove_file(&file);
                    return Err(error);
                }
            };
            if ctx.out.json {
                ctx.out.json(&serde_json::json!({ "id": key.id, "client": client.id, "file": file }))?;
            } else {
                let told = format!("the key {} of '{}' is in {}", key.id, client.name, file.display());
                ctx.out.line(format::clean_line(&told))?;
            }
            done()
        }
        KeyCommand::List { client, page } => {
            let client = resolve::one::<ApiClient>(&ctx.client, &client).await?;
            let list = ctx.client.client_keys(client.id, &page.query()).await?;
            let ids = short_ids(&list.items.iter().map(|k| k.id).collect::<Vec<_>>());
            let row = |(k, id): (&ClientKey, String)| {
                vec![Cell::from(id), access_cell(k.revoked_at), Cell::from(ctx.out.stamp(k.created_at))]
            };
            let rows = list.items.iter().zip(ids).map(row).collect();
            ctx.list(&list, ("key", "keys"), &["ID", "STATE", "CREATED"], rows)
        }
        KeyCommand::Revoke { client, key } => {
            let client = resolve::one::<ApiClient>(&ctx.client, &client).await?;
            let keys = ctx.client.client_keys(client.id, &ListQuery::new().limit(1000)).await?.items;
            let begun: Vec<_> = keys.iter().filter(|k| k.id.to_string().starts_with(&key.to_lowercase())).collect();
            let [found] = begun.as_slice() else {
                bail!("{} keys of '{}' begin with '{key}'; see `backstay client key list`", begun.len(), client.name);
            };
            let revoked = ctx.client.revoke_client_key(client.id, found.id).await?;
            if ctx.out.json {
                ctx.out.json(&revoked)?;
            } else {
                ctx.out.line(format!("what is signed under the key {} is no longer accepted", revoked.id))?;
            }
            done()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_pasted() {
        assert_eq!(quoted("https://[::1]:9281/x"), "'https://[::1]:9281/x'");
        assert_eq!(quoted("/srv/back-up/ca.pem"), "/srv/back-up/ca.pem");
        assert_eq!(quoted("/srv/it's here"), r"'/srv/it'\''s here'");
    }
}
