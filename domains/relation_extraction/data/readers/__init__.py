"""Reading documents: whatever users and data sets hold becomes `Document`s."""

from domains.relation_extraction.data.readers.formats import FORMATS
from domains.relation_extraction.data.readers.reading import check_reading, read_documents

__all__ = ["FORMATS", "check_reading", "read_documents"]
