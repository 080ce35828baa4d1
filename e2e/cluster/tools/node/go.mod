// Two small programs of the node, standard library only.
module plimsoll.dev/e2e/cluster/tools/node

go 1.22
