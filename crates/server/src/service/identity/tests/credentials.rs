//! People and programs: made, changed, revoked; signing in with right and wrong secrets.

use domain::SignedDuration;

use super::*;

fn wrong(credential: &Credential) -> Credential {
    match credential.clone() {
        Credential::Client { id, secret } => Credential::Client { id, secret: format!("{secret}x") },
        Credential::User { login, password } => Credential::User { login, password: format!("{password}x") },
    }
}

#[tokio::test]
async fn a_person_signs_in_with_the_login_in_any_case() {
    let world = World::new().await;
    let (id, _) = world.user(PARTNER, &[Role::Viewer, Role::Issuer]).await;
    let credential = Credential::User { login: "OPS@example.com".into(), password: PASSWORD.into() };
    let caller = world.service.sign_in(credential, None).await.expect("the right password");
    assert_eq!(caller.actor, Actor { kind: ActorKind::User, id });
    assert_eq!(caller.name, "Ops@example.com", "without a name the login is shown");
    assert_eq!(caller.roles(), [Role::Viewer, Role::Issuer]);
    assert_eq!(caller.tenant(), PARTNER);
}

#[tokio::test]
async fn a_program_signs_in_and_stays_bound_to_its_executor() {
    let world = World::new().await;
    let executor = Some("agent-7".to_owned());
    let new =
        NewClient { tenant: None, name: "worker".into(), roles: vec![Role::Consumer], executor: executor.clone() };
    let admin = world.caller(PARTNER, &[Role::Admin]).await;
    let (client, secret) = world.service.create_client(&admin, new).await.expect("a client");
    assert_eq!(client.tenant, PARTNER, "the caller's own by default");
    let credential = Credential::Client { id: client.id.to_string().to_uppercase(), secret };
    let caller = world.service.sign_in(credential, None).await.expect("the right secret");
    assert_eq!((caller.name.as_str(), caller.executor), ("worker", executor));
}

#[tokio::test]
async fn unknown_wrong_and_revoked_look_the_same() {
    let world = World::new().await;
    let service = &world.service;
    let (client, right) = world.client(PARTNER, &[Role::Viewer]).await;
    let unknown = Credential::Client { id: Uuid::from_u128(77).to_string(), secret: "x".into() };
    let no_id = Credential::Client { id: "connector".into(), secret: "x".into() };
    let too_long = Credential::Client { id: client.to_string(), secret: "x".repeat(5000) };
    let empty = Credential::Client { id: client.to_string(), secret: String::new() };
    let mut refusals = Vec::new();
    for credential in [wrong(&right), unknown, no_id, too_long, empty] {
        refusals.push(service.sign_in(credential, None).await.expect_err("not right"));
    }
    service.sign_in(right.clone(), None).await.expect("still let in");
    service.revoke_client(&Caller::server(), client).await.expect("revoked");
    refusals.push(service.sign_in(right, None).await.expect_err("revoked"));
    for refusal in &refusals {
        assert_eq!(refusal, &refusals[0]);
    }
    assert_eq!(refusals[0].code, Code::Unauthenticated);
    assert_eq!(refusals[0].message, "the client id or secret is wrong");

    let (user, right) = world.user(PARTNER, &[Role::Viewer]).await;
    let first = service.sign_in(wrong(&right), None).await.expect_err("wrong");
    service.revoke_user(&Caller::server(), user).await.expect("revoked");
    assert_eq!(service.sign_in(right, None).await.expect_err("revoked"), first);
    assert_eq!(first.message, "the login or password is wrong");
}

#[tokio::test]
async fn a_new_secret_ends_the_old_one() {
    let world = World::new().await;
    let service = &world.service;
    let root = Caller::server();
    let (client, old) = world.client(ROOT, &[Role::Viewer]).await;
    let (_, secret) = service.rotate_client_secret(&root, client).await.expect("a new secret");
    assert_eq!(service.sign_in(old, None).await.expect_err("old").code, Code::Unauthenticated);
    let new = Credential::Client { id: client.to_string(), secret };
    service.sign_in(new, None).await.expect("the new one");

    let (user, old) = world.user(ROOT, &[Role::Viewer]).await;
    let (_, made) = service.set_password(&root, user, None).await.expect("a password");
    assert_eq!(service.sign_in(old, None).await.expect_err("old").code, Code::Unauthenticated);
    let password = made.expect("shown once, since none was given");
    let new = Credential::User { login: "ops@example.com".into(), password };
    service.sign_in(new, None).await.expect("the new one");
    let (_, made) = service.set_password(&root, user, Some(PASSWORD.into())).await.expect("a password");
    assert_eq!(made, None, "what was given is not told again");
    let short = service.set_password(&root, user, Some("short".into())).await.expect_err("too short");
    assert_eq!((short.code, short.field.as_deref()), (Code::InvalidField, Some("password")));

    service.revoke_user(&root, user).await.expect("revoked");
    service.revoke_client(&root, client).await.expect("revoked");
    let refused = service.set_password(&root, user, None).await.expect_err("revoked");
    assert_eq!(refused.code, Code::StateConflict);
    let refused = service.rotate_client_secret(&root, client).await.expect_err("revoked");
    assert_eq!(refused.code, Code::StateConflict);
}

#[tokio::test]
async fn a_login_is_taken_once_on_the_whole_server() {
    let world = World::new().await;
    world.user(PARTNER, &[Role::Viewer]).await;
    let again = NewUser { login: "ops@EXAMPLE.com".into(), ..new_user(STRANGER, &[Role::Viewer]) };
    let refused = world.service.create_user(&Caller::server(), again).await.expect_err("taken");
    assert_eq!((refused.code, refused.field.as_deref()), (Code::AlreadyExists, Some("login")));
}

#[tokio::test]
async fn only_administrators_let_others_in_and_only_where_they_are() {
    let world = World::new().await;
    let service = &world.service;
    let (user, _) = world.user(STRANGER, &[Role::Viewer]).await;
    let (client, _) = world.client(STRANGER, &[Role::Viewer]).await;
    let operator = world.caller(PARTNER, &[Role::Operator]).await;
    let admin = world.caller(PARTNER, &[Role::Admin]).await;
    let of = |tenant| NewClient { tenant: Some(tenant), name: "x".into(), roles: vec![Role::Viewer], executor: None };

    let code = |result: Result<()>| result.expect_err("refused").code;
    for (caller, expected) in [(&operator, Code::Forbidden), (&admin, Code::NotFound)] {
        assert_eq!(code(service.create_user(caller, new_user(STRANGER, &[Role::Viewer])).await.map(drop)), expected);
        assert_eq!(code(service.create_client(caller, of(STRANGER)).await.map(drop)), expected);
        assert_eq!(code(service.user(caller, user).await.map(drop)), expected);
        assert_eq!(code(service.client(caller, client).await.map(drop)), expected);
        assert_eq!(code(service.set_password(caller, user, None).await.map(drop)), expected);
        assert_eq!(code(service.rotate_client_secret(caller, client).await.map(drop)), expected);
        assert_eq!(code(service.revoke_user(caller, user).await.map(drop)), expected);
        assert_eq!(code(service.revoke_client(caller, client).await.map(drop)), expected);
    }
    for list in [service.users(&operator, &all()).await.map(drop), service.audit_log(&operator, &all()).await.map(drop)]
    {
        assert_eq!(code(list), Code::Forbidden);
    }
    let outside = service.create_client(&admin, of(STRANGER)).await.expect_err("out of scope");
    assert_eq!(outside.field.as_deref(), Some("tenant"));
    service.create_client(&admin, of(CUSTOMER)).await.expect("below");
    let seen = service.clients(&admin, &all()).await.expect("a list").items;
    assert_eq!(seen.iter().map(|c| c.tenant).collect::<Vec<_>>(), [CUSTOMER]);
    assert!(service.users(&admin, &all()).await.expect("a list").items.is_empty());
    assert!(service.audit_log(&admin, &all()).await.expect("a list").items.iter().all(|e| e.tenant == CUSTOMER));
}

#[tokio::test]
async fn everyone_reads_their_own_record() {
    let world = World::new().await;
    let (client, credential) = world.client(PARTNER, &[Role::Issuer]).await;
    let (other, _) = world.client(PARTNER, &[Role::Issuer]).await;
    let caller = world.service.sign_in(credential, None).await.expect("right");
    // Also with a token that is narrowed to a tenant below.
    let wish = Wish { tenant: Some(CUSTOMER), ..Wish::default() };
    let narrowed = world.service.grant(&caller, wish).await.expect("granted").caller;
    assert_eq!(world.service.client(&narrowed, client).await.expect("its own").id, client);
    assert_eq!(world.service.client(&narrowed, other).await.expect_err("another's").code, Code::Forbidden);
}

#[tokio::test]
async fn nobody_gives_out_or_touches_more_than_they_have() {
    let world = World::new().await;
    let operator = world.caller(ROOT, &[Role::Operator]).await;
    check_within(&operator, &[Role::Viewer, Role::Issuer, Role::Operator]).expect("all within");
    for above in [Role::Consumer, Role::Admin] {
        let refused = check_within(&operator, &[Role::Viewer, above]).expect_err("more");
        assert_eq!(refused.code, Code::Forbidden);
        assert!(refused.message.contains(above.name()), "{}", refused.message);
    }
}

#[tokio::test]
async fn five_failures_slow_a_name_down_at_one_address() {
    let world = World::new().await;
    let service = &world.service;
    let (client, right) = world.client(PARTNER, &[Role::Viewer]).await;
    let (here, elsewhere) = (address("192.0.2.1"), address("192.0.2.2"));
    let start = service.moment().now;
    let at = |seconds| start + SignedDuration::from_secs(seconds);
    for _ in 0..5 {
        assert!(world.audited("sign_in.throttled").await.is_empty());
        let refused = service.sign_in_at(wrong(&right), here, start).await.expect_err("wrong");
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    let server = Caller::server().actor;
    let told = vec![(PARTNER, server, client.to_string(), client.to_string())];
    assert_eq!(world.audited("sign_in.throttled").await, told);

    let refused = service.sign_in_at(right.clone(), here, start).await.expect_err("too early, though right");
    assert_eq!((refused.code, refused.retry_after), (Code::TooManyAttempts, Some(1)));
    service.sign_in_at(right.clone(), elsewhere, start).await.expect("another address is not affected");

    service.sign_in_at(wrong(&right), here, at(1)).await.expect_err("the sixth");
    let refused = service.sign_in_at(right.clone(), here, at(2)).await.expect_err("two seconds now");
    assert_eq!(refused.retry_after, Some(1));
    service.sign_in_at(right.clone(), here, at(3)).await.expect("in time");
    for _ in 0..4 {
        service.sign_in_at(wrong(&right), here, at(3)).await.expect_err("wrong");
    }
    service.sign_in_at(right, here, at(3)).await.expect("success had reset the count");
    assert_eq!(world.audited("sign_in.throttled").await, told, "one entry for being slowed down once");
}

#[tokio::test]
async fn an_unknown_name_is_slowed_down_alike_and_told_to_the_root() {
    let world = World::new().await;
    let nobody = Credential::User { login: " Nobody ".into(), password: "x".into() };
    let now = world.service.moment().now;
    for _ in 0..5 {
        world.service.sign_in_at(nobody.clone(), None, now).await.expect_err("unknown");
    }
    let refused = world.service.sign_in_at(nobody, None, now).await.expect_err("too many");
    assert_eq!(refused.code, Code::TooManyAttempts);
    let told = world.audited("sign_in.throttled").await;
    assert_eq!(told, [(ROOT, Caller::server().actor, String::new(), "nobody".to_owned())]);
}

#[tokio::test]
async fn no_secret_is_shown_or_recorded() {
    let world = World::new().await;
    let service = &world.service;
    let root = Caller::server();
    let (user, credential) = world.user(ROOT, &[Role::Admin]).await;
    let (client, program) = world.client(ROOT, &[Role::Viewer]).await;
    let Credential::Client { secret, .. } = &program else { panic!("a client") };
    let caller = service.sign_in(credential.clone(), None).await.expect("right");
    let grant = service.grant(&caller, Wish::default()).await.expect("granted");
    service.sign_in(wrong(&program), None).await.expect_err("wrong");
    let user = service.user(&root, user).await.expect("the user");
    let client = service.client(&root, client).await.expect("the client");
    let key = service.signing_keys(&root, &all()).await.expect("the keys").items.remove(0);

    let printed = format!("{:?}", (new_user(ROOT, &[]), &credential, &program, &grant, &user, &client, &key));
    let log = service.audit_log(&root, &all()).await.expect("the log").items;
    let log = serde_json::to_string(&log).expect("plain data");
    let secrets = [
        PASSWORD,
        secret,
        &grant.access_token,
        &grant.id_token,
        &user.password_hash,
        &client.secret_hash,
        &key.sealed_private_key,
    ];
    for secret in secrets {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("user.create") && log.contains("client.create") && log.contains("token.grant"), "{log}");
}
