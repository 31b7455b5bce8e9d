//! Blobs written block by block.

use crate::answer::{BLOB_MD5, empty, stamp_headers, stamped, xml};
use crate::blobs::{CONTENT_MD5, check_md5, content_type, md5_of};
use crate::conditions::check_make;
use crate::pieces::{Answer, Received};
use crate::refusal::Refusal;
use crate::request::{Asked, block_id_length};
use crate::store::{Blob, Block, Container, Service};
use hyper::StatusCode;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::sync::Arc;

/// Most bytes of an id.
const MAX_ID: usize = 64;

pub(crate) fn put(service: &Service, asked: &Asked, received: Received) -> Result<Answer, Refusal> {
    let id = asked.parameter("blockid");
    let length = block_id_length(id).filter(|length| *length > 0);
    let length = length.ok_or_else(Refusal::invalid_query_value)?;
    if length > MAX_ID {
        return Err(Refusal::out_of_range_input());
    }
    check_md5(service, asked, &received)?;
    service.within(&asked.container, |container| {
        let staged = container.staged.entry(asked.blob.clone()).or_default();
        let other = staged.first().map(|block| block.id.as_str());
        if other.is_some_and(|other| block_id_length(other) != Some(length)) {
            return Err(Refusal::invalid_block());
        }
        staged.retain(|block| block.id != id);
        staged.push(Block {
            id: id.to_owned(),
            content: Arc::new(received),
        });
        Ok(empty(StatusCode::CREATED))
    })
}

pub(crate) fn commit(
    service: &Service,
    asked: &Asked,
    received: &Received,
) -> Result<Answer, Refusal> {
    let wanted = read_list(&received.joined())?;
    let metadata = asked.metadata()?;
    // Of the list, not of the blob.
    let md5 = md5_of(received);
    service.within(&asked.container, |container| {
        let there = container.blobs.get(&asked.blob).cloned();
        check_make(asked, there.as_deref())?;
        let blocks = find_blocks(container, &asked.blob, there.as_deref(), &wanted)?;
        let stamp = service.stamp();
        let mut answer = stamped(StatusCode::CREATED, &stamp);
        answer.headers_mut().insert(CONTENT_MD5, md5);
        let created = there.map_or_else(|| stamp.modified.clone(), |blob| blob.created.clone());
        let blob = Blob {
            created,
            stamp,
            content_type: content_type(asked, None),
            md5: asked.headers.get(BLOB_MD5).cloned(),
            metadata,
            size: blocks.iter().map(|block| block.content.size).sum(),
            blocks,
        };
        container.staged.remove(&asked.blob);
        container.blobs.insert(asked.blob.clone(), Arc::new(blob));
        Ok(answer)
    })
}

pub(crate) fn list(service: &Service, asked: &Asked) -> Result<Answer, Refusal> {
    let kind = asked.parameter("blocklisttype").to_ascii_lowercase();
    let (committed, uncommitted) = match kind.as_str() {
        "" | "committed" => (true, false),
        "uncommitted" => (false, true),
        "all" => (true, true),
        _ => return Err(Refusal::invalid_query_value()),
    };
    service.within(&asked.container, |container| {
        let blob = container.blobs.get(&asked.blob);
        let staged = container.staged.get(&asked.blob);
        if blob.is_none() && staged.is_none() {
            return Err(Refusal::blob_not_found());
        }
        let mut text =
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<BlockList>".to_owned();
        let there = blob.filter(|_| committed).into_iter();
        let there = there.flat_map(|blob| blob.named_blocks());
        push_blocks(&mut text, "CommittedBlocks", there);
        let waiting = staged.filter(|_| uncommitted).into_iter().flatten();
        push_blocks(&mut text, "UncommittedBlocks", waiting);
        text.push_str("</BlockList>");
        let mut answer = xml(text);
        if let Some(blob) = blob {
            stamp_headers(answer.headers_mut(), &blob.stamp);
        }
        Ok(answer)
    })
}

fn push_blocks<'a>(text: &mut String, name: &str, blocks: impl Iterator<Item = &'a Block>) {
    text.push_str(&format!("<{name}>"));
    for block in blocks {
        text.push_str(&format!(
            "<Block><Name>{}</Name><Size>{}</Size></Block>",
            block.id, block.content.size
        ));
    }
    text.push_str(&format!("</{name}>"));
}

/// Where a block of a list is to be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Committed,
    Uncommitted,
    Latest,
}

fn find_blocks(
    container: &Container,
    name: &str,
    there: Option<&Blob>,
    wanted: &[(From, String)],
) -> Result<Vec<Block>, Refusal> {
    let staged = container.staged.get(name).map_or(&[][..], Vec::as_slice);
    let staged = |id: &str| staged.iter().find(|block| block.id == id);
    let committed = |id: &str| there?.named_blocks().find(|block| block.id == id);
    let found = wanted.iter().map(|(from, id)| match from {
        From::Committed => committed(id),
        From::Uncommitted => staged(id),
        From::Latest => staged(id).or_else(|| committed(id)),
    });
    let found: Option<Vec<Block>> = found.map(|block| block.cloned()).collect();
    found.ok_or_else(Refusal::invalid_block_list)
}

/// `<BlockList><Latest>ID</Latest>…</BlockList>`
fn read_list(text: &[u8]) -> Result<Vec<(From, String)>, Refusal> {
    let mut reader = Reader::from_reader(text);
    reader.config_mut().trim_text(true);
    let (mut inside, mut open) = (false, None);
    let mut list = Vec::new();
    let mut ended = false;
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(start) if !inside && !ended && start.name().as_ref() == b"BlockList" => {
                inside = true;
            }
            Event::Empty(empty) if !inside && !ended && empty.name().as_ref() == b"BlockList" => {
                ended = true;
            }
            Event::Start(start) if inside && open.is_none() => {
                open = Some((place(start.name().as_ref())?, String::new()));
            }
            Event::Text(part) => match (&mut open, part.decode()) {
                (Some((_, id)), Ok(part)) => id.push_str(&part),
                (Some(_) | None, _) => return Err(Refusal::invalid_xml()),
            },
            Event::End(_) => match open.take() {
                Some(block) => list.push(block),
                None => (inside, ended) = (false, true),
            },
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Eof if ended => return Ok(list),
            Event::Start(_)
            | Event::Empty(_)
            | Event::CData(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_)
            | Event::Eof => return Err(Refusal::invalid_xml()),
        }
    }
    Err(Refusal::invalid_xml())
}

fn place(element: &[u8]) -> Result<From, Refusal> {
    match element {
        b"Committed" => Ok(From::Committed),
        b"Uncommitted" => Ok(From::Uncommitted),
        b"Latest" => Ok(From::Latest),
        _ => Err(Refusal::invalid_block_list()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_its_order_and_nothing_else_is_taken_for_one() {
        let text = "<?xml version=\"1.0\"?>\n<BlockList>\n <Latest>YQ==</Latest>\n <Committed>Yg==</Committed>\
                    <Uncommitted>Yw==</Uncommitted>\n</BlockList>\n";
        let list = read_list(text.as_bytes()).unwrap();
        let ids = ["YQ==", "Yg==", "Yw=="].map(str::to_owned);
        let places = [From::Latest, From::Committed, From::Uncommitted];
        assert_eq!(list, places.into_iter().zip(ids).collect::<Vec<_>>());
        for empty in ["<BlockList/>", "<BlockList></BlockList>"] {
            assert_eq!(read_list(empty.as_bytes()), Ok(Vec::new()));
        }
        for bad in [
            "",
            "x",
            "<BlockList>",
            "<BlockList><Latest>YQ==</BlockList>",
            "<BlockList>YQ==</BlockList>",
            "<Other/>",
            "<BlockList/><BlockList/>",
        ] {
            assert_eq!(
                read_list(bad.as_bytes()),
                Err(Refusal::invalid_xml()),
                "{bad}"
            );
        }
    }
}
