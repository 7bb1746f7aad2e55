//! People who go on talking to a host while something is done to it, over one connection each: whatever ends it, or is lost
//! or doubled, is an objection.

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    harness::{
        Host, PATIENCE,
        dice::{self, Dice},
    },
    person::{Manner, Person},
};

/// Few: what is asked is whether anybody notices, not how much the host can bear.
const PEOPLE: usize = 3;

/// The people, at it.
pub(crate) struct Traffic {
    finish: watch::Sender<bool>,
    talks: Vec<JoinHandle<Result<Person, String>>>,
}

/// To the example, or to whoever the host finds.
fn words(dice: &mut Dice) -> Value {
    let unique = dice.roll(u64::MAX);
    let content = format!("says {unique}");
    if unique.is_multiple_of(2) {
        json!({ "content": content, "agent": "echo" })
    } else {
        json!({ "content": content })
    }
}

impl Traffic {
    /// They connect and begin to talk.
    pub(crate) fn begin(host: &Host) -> Self {
        let (finish, told) = watch::channel(false);
        let (seed, address) = (dice::seed(), host.address);
        let mut dice = Dice::new(seed);
        let talk = |at: usize| {
            let manner = Manner { words, pause: 10..40, patience: PATIENCE, schooled: true };
            let mut person = Person::new(format!("person-{at}"), manner, dice.another());
            let told = told.clone();
            tokio::spawn(async move {
                let talked = person.talk(address, told).await;
                talked.map(|()| person).map_err(|stop| format!("SEED={seed}: a socket was closed: {stop:?}"))
            })
        };
        Self { talks: (0..PEOPLE).map(talk).collect(), finish }
    }

    /// They finish what they began. Objects to what anybody noticed, and to a host with which nobody talked.
    pub(crate) async fn end(self, host: &Host) -> Result<(), String> {
        self.finish.send_replace(true);
        for talk in self.talks {
            let person = timeout(PATIENCE, talk).await.map_err(|_| "LOST: not all is answered")?;
            let person = person.map_err(|e| e.to_string())??;
            if person.messages() == 0 {
                return Err(format!("{} said nothing", person.name));
            }
            person.judge().map_err(|e| format!("{}: {e}", person.name))?;
            person.judge_log(host.address).await.map_err(|e| format!("{}: {e}", person.name))?;
        }
        Ok(())
    }
}
