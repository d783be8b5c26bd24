"""Taking in what somebody else logged: text in, imported runs out, with every fault of the text found."""
