//! Where this node belongs: alone, or to others at an endpoint.

use super::arguments::{Arguments, Backend};
use super::endpoint::{C10D_PORT, Endpoint, STATIC_PORT};

/// Where this node belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// The coordinator is in this process.
    Alone,
    /// Nodes meet.
    At {
        endpoint: Endpoint,
        /// Whether this node starts the coordinator; `None`: if the endpoint is this machine's.
        host: Option<bool>,
        /// This node's rank, where it is given.
        node_rank: Option<u32>,
    },
}

impl Meeting {
    pub(super) fn of(arguments: &Arguments) -> Result<Self, String> {
        if arguments.standalone || arguments.max_nodes == 1 {
            return Ok(Self::Alone);
        }
        let (endpoint, host, node_rank) = match arguments.backend {
            Backend::C10d => (
                Endpoint::read(&arguments.endpoint, C10D_PORT)?,
                arguments.conf.is_host,
                None,
            ),
            Backend::Static => (
                static_endpoint(arguments)?,
                Some(arguments.node_rank == 0),
                Some(arguments.node_rank),
            ),
        };
        if endpoint.port == 0 {
            return Err(format!(
                "port 0 of {endpoint} can't be found by other nodes; give a port that is the same on all of them"
            ));
        }
        Ok(Self::At {
            endpoint,
            host,
            node_rank,
        })
    }
}

fn static_endpoint(arguments: &Arguments) -> Result<Endpoint, String> {
    let port = arguments.master_port.unwrap_or(STATIC_PORT);
    if !arguments.endpoint.is_empty() {
        return Endpoint::read(&arguments.endpoint, port);
    }
    let mut endpoint = Endpoint::read(&arguments.master_addr, port)?;
    endpoint.port = port;
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line;
    use std::ffi::OsString;

    fn of(text: &str) -> Result<Meeting, String> {
        let line = command_line::read(text.split_whitespace().map(OsString::from))?;
        Meeting::of(&Arguments::read(line, |_| None)?)
    }

    fn at(text: &str, host: Option<bool>, node_rank: Option<u32>) -> Meeting {
        Meeting::At {
            endpoint: Endpoint::read(text, 1).unwrap(),
            host,
            node_rank,
        }
    }

    #[test]
    fn one_node_is_alone_however_it_is_said() {
        for text in [
            "s",
            "--standalone s",
            "--nnodes 1 --master-port 29501 s",
            "--nnodes 1:1 --rdzv-backend c10d --rdzv-endpoint localhost:0 s",
            "--standalone --rdzv-backend c10d --rdzv-endpoint elsewhere:1 s",
        ] {
            assert_eq!(of(text), Ok(Meeting::Alone), "{text}");
        }
    }

    #[test]
    fn several_nodes_meet_at_the_endpoint() {
        let c10d = "--nnodes 1:4 --rdzv-backend c10d --rdzv-endpoint";
        assert_eq!(
            of(&format!("{c10d} head s")),
            Ok(at("head:29400", None, None))
        );
        let host = of(&format!("{c10d} head:7 --rdzv-conf is_host=1 s"));
        assert_eq!(host, Ok(at("head:7", Some(true), None)));
        assert!(
            of(&format!("{c10d} head:0 s"))
                .unwrap_err()
                .contains("port 0")
        );
    }

    #[test]
    fn static_nodes_meet_at_the_master() {
        let said = of("--nnodes 2 --node-rank 1 --master-addr h --master-port 5 s");
        assert_eq!(said, Ok(at("h:5", Some(false), Some(1))));
        let said = of("--nnodes 2 --master-addr [fd00::1] s");
        assert_eq!(said, Ok(at("[fd00::1]:29500", Some(true), Some(0))));
        let said = of("--nnodes 2 --rdzv-endpoint e:9 s");
        assert_eq!(said, Ok(at("e:9", Some(true), Some(0))));
    }
}
