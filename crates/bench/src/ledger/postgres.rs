//! PostgreSQL side by side: the tasks in a table with the indexes that these questions want, over one connection with
//! prepared statements.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use ledger::Ledger;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement as Prepared};

use super::ask::{Answer, Answered, Ask};
use super::clock::Clock;
use super::side::{Loaded, Tasks, closure, tenants};
use super::sql::{COLUMNS, Datum, Dialect, INDEXES, Sql, Statement, row, sql};

/// How long an answer is waited for; what takes longer counts as this.
const PATIENCE: Duration = Duration::from_secs(120);
/// Text that is sent at once while rows are copied.
const CHUNK: usize = 1 << 20;

/// A connection to a database that has the tasks.
pub(crate) struct Postgres {
    client: Client,
    prepared: HashMap<String, Prepared>,
}

/// Connects, and says what to do where that is not possible.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context(
        "PostgreSQL cannot be reached; name one with --postgres, or install one for --own-postgres \
         (Debian: apt install postgresql-15)",
    )?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

impl Postgres {
    /// Brings all tasks of a ledger there, in place of what was there before.
    pub(crate) async fn load(
        url: &str,
        ledger: &dyn Ledger,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(Postgres, Loaded)> {
        let clock = Instant::now();
        let client = connect(url).await?;
        let columns = COLUMNS.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ");
        client
            .batch_execute(&format!(
                "CREATE EXTENSION IF NOT EXISTS pg_trgm;
                 DROP TABLE IF EXISTS tasks, tenant_closure;
                 CREATE TABLE tenant_closure (ancestor uuid, descendant uuid, PRIMARY KEY (ancestor, descendant));
                 CREATE TABLE tasks ({columns});"
            ))
            .await
            .context(
                "PostgreSQL refuses the tables; pg_trgm is in the package postgresql-contrib where it is missing",
            )?;
        let pairs = closure(&tenants(ledger).await?);
        let line = |(a, b): &(domain::Uuid, domain::Uuid)| format!("{a}\t{b}\n");
        copy(&client, "tenant_closure", vec![pairs.iter().map(line).collect()]).await?;
        let tasks = copy_tasks(&client, ledger, say).await?;
        client.batch_execute("ALTER TABLE tasks ADD PRIMARY KEY (id)").await?;
        for (name, of) in INDEXES {
            client.batch_execute(&format!("CREATE INDEX {name} ON tasks {of}")).await?;
        }
        client
            .batch_execute(
                "CREATE INDEX tasks_name ON tasks USING gin (resource_name gin_trgm_ops);
                 CREATE INDEX tasks_tag ON tasks USING gin (tag);",
            )
            .await?;
        say("PostgreSQL: indexes are made".to_owned());
        for table in ["tasks", "tenant_closure"] {
            client.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
        }
        client.batch_execute("CHECKPOINT").await?;
        client.batch_execute(&format!("SET statement_timeout = '{}s'", PATIENCE.as_secs())).await?;
        let size = client.query_one("SELECT pg_total_relation_size('tasks')", &[]).await?.get::<_, i64>(0);
        let version = client.query_one("SHOW server_version", &[]).await?.get::<_, String>(0);
        let loaded = Loaded {
            name: "PostgreSQL".to_owned(),
            version,
            tasks,
            seconds: clock.elapsed().as_secs_f64(),
            bytes: size.unsigned_abs(),
        };
        Ok((Postgres { client, prepared: HashMap::new() }, loaded))
    }

    /// Asks; without an answer when that takes too long.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Result<Answered, Duration>> {
        match self.answer(ask).await {
            Ok(answered) => Ok(Ok(answered)),
            Err(e) => match e.downcast_ref::<tokio_postgres::Error>().and_then(|e| e.code()) {
                Some(&SqlState::QUERY_CANCELED) => Ok(Err(PATIENCE)),
                _ => Err(e),
            },
        }
    }

    /// Rows and their number are asked at once, as the connection can carry both.
    async fn answer(&mut self, ask: &Ask) -> Result<Answered> {
        match sql(Dialect::Postgres, ask) {
            Sql::Rows(rows, count) => {
                let (rows, row_statement) = (self.prepare(&rows).await?, rows);
                let count = match count {
                    Some(count) => Some((self.prepare(&count).await?, count)),
                    None => None,
                };
                let counting = async {
                    match &count {
                        Some((prepared, statement)) => {
                            self.client.query_one(prepared, &params(statement)).await.map(Some)
                        }
                        None => Ok(None),
                    }
                };
                let values = params(&row_statement);
                let clock = Clock::start();
                let (rows, total) = tokio::try_join!(self.client.query(&rows, &values), counting)?;
                let cost = clock.stop();
                let answer = Answer {
                    ids: rows.iter().map(|r| r.get(0)).collect(),
                    total: total.map(|r| r.get::<_, i64>(0).unsigned_abs()),
                    ..Answer::default()
                };
                Ok(Answered { answer, cost })
            }
            Sql::Groups(statement, by) => {
                let prepared = self.prepare(&statement).await?;
                let clock = Clock::start();
                let rows = self.client.query(&prepared, &params(&statement)).await?;
                let cost = clock.stop();
                let group = |r: &Row| {
                    let name: Vec<_> = (0..by).map(|column| shown(r, column)).collect();
                    (name.join(" "), r.get::<_, i64>(by).unsigned_abs())
                };
                Ok(Answered { answer: Answer::of_named(rows.iter().map(group).collect()), cost })
            }
        }
    }

    async fn prepare(&mut self, statement: &Statement) -> Result<Prepared> {
        if let Some(prepared) = self.prepared.get(&statement.text) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(&statement.text).await.with_context(|| statement.text.clone())?;
        self.prepared.insert(statement.text.clone(), prepared.clone());
        Ok(prepared)
    }
}

/// A value that groups are named by.
fn shown(row: &Row, column: usize) -> String {
    let some = match *row.columns()[column].type_() {
        Type::INT2 => row.get::<_, Option<i16>>(column).map(|n| n.to_string()),
        Type::INT8 => row.get::<_, Option<i64>>(column).map(|n| n.to_string()),
        Type::UUID => row.get::<_, Option<domain::Uuid>>(column).map(|n| n.to_string()),
        _ => row.get::<_, Option<String>>(column),
    };
    some.unwrap_or_else(|| "-".to_owned())
}

async fn copy_tasks(client: &Client, ledger: &dyn Ledger, say: &(dyn Fn(String) + Send + Sync)) -> Result<u64> {
    let sink = client.copy_in::<_, Bytes>("COPY tasks FROM STDIN").await?;
    let mut sink = std::pin::pin!(sink);
    let mut tasks = Tasks::of(ledger);
    let (mut count, mut text) = (0, String::new());
    loop {
        let some = tasks.next().await?;
        for (rev, task) in &some {
            let mut before = "";
            for value in row(*rev, task) {
                text.push_str(before);
                write_datum(&mut text, &value);
                before = "\t";
            }
            text.push('\n');
        }
        let (before, last) = (count, some.is_empty());
        count += some.len() as u64;
        if before / 500_000 != count / 500_000 {
            say(format!("PostgreSQL: {count} tasks are there"));
        }
        if last || text.len() > CHUNK {
            sink.send(std::mem::take(&mut text).into_bytes().into()).await?;
        }
        if last {
            break;
        }
    }
    sink.finish().await?;
    Ok(count)
}

async fn copy(client: &Client, table: &str, chunks: Vec<String>) -> Result<()> {
    let sink = client.copy_in::<str, Bytes>(&format!("COPY {table} FROM STDIN")).await?;
    let mut sink = std::pin::pin!(sink);
    for chunk in chunks {
        sink.send(chunk.into_bytes().into()).await?;
    }
    sink.finish().await?;
    Ok(())
}

/// A value as COPY reads it.
fn write_datum(text: &mut String, value: &Datum) {
    match value {
        Datum::Null => text.push_str("\\N"),
        Datum::Int(n) => text.push_str(&n.to_string()),
        Datum::Bool(b) => text.push(if *b { 't' } else { 'f' }),
        Datum::Uuid(u) => text.push_str(&u.to_string()),
        Datum::Text(s) | Datum::Json(s) => escape(text, s),
        Datum::Texts(all) => {
            let quoted: Vec<_> =
                all.iter().map(|t| format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\""))).collect();
            escape(text, &format!("{{{}}}", quoted.join(",")));
        }
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
}

fn params(statement: &Statement) -> Vec<&(dyn ToSql + Sync)> {
    statement.values.iter().map(|v| v as &(dyn ToSql + Sync)).collect()
}

/// A value is bound as the type that the statement has in its place.
impl ToSql for Datum {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match (self, kind) {
            (Datum::Null, _) => Ok(IsNull::Yes),
            (Datum::Int(n), &Type::INT2) => i16::try_from(*n)?.to_sql(kind, out),
            (Datum::Int(n), &Type::INT4) => i32::try_from(*n)?.to_sql(kind, out),
            (Datum::Int(n), _) => n.to_sql(kind, out),
            (Datum::Text(s) | Datum::Json(s), _) => s.to_sql(kind, out),
            (Datum::Uuid(u), _) => u.to_sql(kind, out),
            (Datum::Bool(b), _) => b.to_sql(kind, out),
            (Datum::Texts(all), _) => all.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(kind, out)
    }
}

impl std::fmt::Display for Datum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        write_datum(&mut text, self);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_copy_reads_them() {
        let text = |value: Datum| value.to_string();
        assert_eq!(text(Datum::Null), "\\N");
        assert_eq!(text(Datum::Text("a\tb\\c\n".to_owned())), "a\\tb\\\\c\\n");
        assert_eq!(text(Datum::Texts(vec!["x".to_owned(), "y\"z".to_owned()])), "{\"x\",\"y\\\\\"z\"}");
        assert_eq!(text(Datum::Json("{\"a\":\"b\\\\n\"}".to_owned())), "{\"a\":\"b\\\\\\\\n\"}");
    }
}
