"""Files of clouds and meshes, a file a kind of format; `formats` names the reader of each file ending."""
