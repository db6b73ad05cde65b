"""The shelves on which the catalogue sorts blocks."""

from enum import StrEnum


class Category(StrEnum):
    AI = "AI"
    SOCIAL = "SOCIAL"
    TEXT = "TEXT"
    SEARCH = "SEARCH"
    BASIC = "BASIC"
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"
    LOGIC = "LOGIC"
    COMMUNICATION = "COMMUNICATION"
    DEVELOPER_TOOLS = "DEVELOPER_TOOLS"
    DATA = "DATA"
    HARDWARE = "HARDWARE"
    AGENT = "AGENT"
    CRM = "CRM"
    SAFETY = "SAFETY"
    PRODUCTIVITY = "PRODUCTIVITY"
    ISSUE_TRACKING = "ISSUE_TRACKING"
    MULTIMEDIA = "MULTIMEDIA"
    MARKETING = "MARKETING"


DESCRIPTIONS: dict[str, str] = {
    Category.AI: "Uses a model to write, decide or create.",
    Category.SOCIAL: "Works with social networks.",
    Category.TEXT: "Works on text.",
    Category.SEARCH: "Finds information.",
    Category.BASIC: "Everyday building parts.",
    Category.INPUT: "Takes a value into an agent.",
    Category.OUTPUT: "Hands a value out of an agent.",
    Category.LOGIC: "Decides, repeats or calculates.",
    Category.COMMUNICATION: "Sends or reads messages.",
    Category.DEVELOPER_TOOLS: "Helps to build software.",
    Category.DATA: "Works on structured data.",
    Category.HARDWARE: "Talks to devices.",
    Category.AGENT: "Works with other agents.",
    Category.CRM: "Works with customer records.",
    Category.SAFETY: "Keeps an agent within bounds.",
    Category.PRODUCTIVITY: "Helps to get work done.",
    Category.ISSUE_TRACKING: "Works with issues and tasks.",
    Category.MULTIMEDIA: "Works with pictures, sound and video.",
    Category.MARKETING: "Helps to reach an audience.",
}
