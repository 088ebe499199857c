"""The way on from every state of a candidate, a labeler, an item, a task and an export."""

from understudy.web.ways import Way

_NEXT = ("POST /api/next",)
_DECIDE = ("POST /api/owner/labelers/{account_id}/decide", "labelers decide")
_FILL = ("POST /api/owner/queue/fill", "labels plan")
_REOPEN = "POST /api/owner/items/{item_id}/reopen"

WAYS = (
    Way(
        "candidate",
        "invited",
        "the owner, among the labelers",
        "the link, which works once; a lost one: *New password link*",
        ("POST /api/owner/labelers/{account_id}/reset", "labelers reset"),
    ),
    Way(
        "candidate",
        "instructions",
        "the candidate, and everybody when there is a new version",
        "*I have read this*",
        ("POST /api/instructions",),
    ),
    Way("candidate", "practice", "the candidate", "the next item, until there is none", _NEXT),
    Way("candidate", "screening", "the candidate", "the next item, until there is none", _NEXT),
    Way(
        "candidate",
        "waiting",
        "the candidate; the owner, on the overview and the labeler's page",
        "the owner: *Decide*, also where the invitation named a role; the candidate: *Look again*",
        _DECIDE,
    ),
    Way(
        "candidate",
        "rejected",
        "the owner, on the labeler's page",
        "*Decide*: the role may still be given",
        _DECIDE,
    ),
    Way(
        "labeler",
        "active",
        "the labeler",
        "the next task; with nothing to do *Look again*, or another kind of task",
        _NEXT,
    ),
    Way(
        "labeler",
        "disabled",
        "the owner, on the labeler's page",
        "*Enable*",
        ("POST /api/owner/labelers/{account_id}/enable", "labelers enable"),
    ),
    Way(
        "item",
        "not queued",
        "the owner, on the overview and the queue's page",
        "*Fill the queue*: prompts without a demonstration or with responses to rank; on request "
        "also a demonstration where responses came with the prompt",
        _FILL,
    ),
    Way("item", "open", "labelers", "it is handed out", _NEXT),
    Way(
        "item",
        "open, nobody left",
        "the owner, on the overview and the queue's page; `labels plan`",
        "*Invite somebody*, or *End them*: items with a label are done, the others set aside",
        ("POST /api/owner/labelers", "POST /api/owner/queue/end", "labelers invite"),
    ),
    Way(
        "item",
        "open or done, with later responses",
        "the owner, on the overview and the queue's page",
        "*Fill the queue*: ranked together with the earlier responses or apart",
        _FILL,
    ),
    Way(
        "item",
        "done",
        "the owner, where labelers disagree, among the disagreements",
        "*Decide this ranking*, *Ask for more labels*",
        ("POST /api/owner/disagreements/{item_id}",),
    ),
    Way(
        "item",
        "set_aside",
        "the owner, on the overview and the queue's page",
        "*Send back* or *Close*",
        (_REOPEN, "POST /api/owner/items/{item_id}/close"),
    ),
    Way("item", "closed", "the owner, on the queue's page", "*Send back*", (_REOPEN,)),
    Way(
        "task",
        "leased",
        "the labeler",
        "*Send*, *Skip*; *Unsure* and *Cannot rank* are answers too",
        (
            "POST /api/assignments/{assignment_id}/submit",
            "POST /api/assignments/{assignment_id}/skip",
        ),
    ),
    Way(
        "task",
        "expired",
        "the labeler, over the task",
        "go on and *Send*: what comes late is kept",
        ("POST /api/assignments/{assignment_id}/submit",),
    ),
    Way(
        "task",
        "done",
        "the labeler, under *History*",
        "change it; a change that was not sent is kept in the browser and marked, and can be sent "
        "or dropped",
        ("GET /api/history", "POST /api/assignments/{assignment_id}/submit"),
    ),
    Way(
        "task",
        "skipped",
        "the labeler",
        "*Take it back*, until somebody else has it",
        ("POST /api/assignments/{assignment_id}/unskip",),
    ),
    Way("export", "waiting", "the owner, among the exports", "it starts after the one before"),
    Way("export", "running", "the owner, among the exports", "it shows how far it is"),
    Way(
        "export",
        "done",
        "the owner, among the exports",
        "*Download*; a file that has changed since says so: *Export* again",
        ("GET /api/owner/exports/{job_id}/file", "export"),
    ),
    Way(
        "export",
        "failed",
        "the owner, among the exports",
        "says why in words; *Try again*",
        ("POST /api/owner/exports", "export"),
    ),
)
