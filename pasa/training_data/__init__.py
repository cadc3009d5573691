"""Training data from a paper library: queries, then the rows that teach Crawler and Selector.

Queries (scripts/build_queries.py), JSON lines in upstream's form, so that they are read as any benchmark is:

    {"question": "Which works study ...?", "answer": [titles], "answer_arxiv_id": [id or null],
     "source_meta": {"published_time": "YYYYMMDD", "title": source paper, "arxiv_id": its id or null,
                     "section": name}, "qid": "...", "writer": KIND}

KIND, what the question was made from (pasa/training_data/query_writer.py): "heading", "topic", "phrase", "theme",
"aspect", "gist", "detail", or "llm".

Rows to learn from (scripts/build_sft_crawler.py, scripts/build_sft_selector.py), JSON lines in the form of upstream's
data/sft_crawler/train.jsonl and data/sft_selector/train.jsonl: a chat of one user message and one reply.

    {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}],
     "qid": the query's, "kind": "search" | "expand" | "select", ...}

- prompt = messages[0].content, completion = messages[-1].content; only the completion is learnt. What other keys say
  may be of use to a reader and is not needed to train; rows without them are rows as well.
- "search" and "expand": the prompt is pasa/prompts.py's search_request / expand_request (`.prompt`), rendered "json";
  the completion is what pasa/actions.py's render_actions gives: "[Search] a\\n[Search] b\\n[StopSearch]",
  "[Expand] Section Name\\n[StopExpand]", or "[StopExpand]" alone.
- "select": the prompt is select_request's, which ends in "Decision:" and is not stripped; the completion begins with
  the token True or False, without a blank before it; a rationale follows only where one was written:
  "True\\nReason: ...". `title` names the paper, `negative` says where a False came from.

Each builder writes train.jsonl, dev.jsonl and test.jsonl (one source paper's queries are all in one of them) and
manifest.json into a folder of its own.
"""
