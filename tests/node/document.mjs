// Holds docs/openapi.json to the specification of OpenAPI, by a validator that we didn't write.
//
// usage: node document.mjs FILE
// Prints `ok TITLE PATHS`.

import SwaggerParser from "@apidevtools/swagger-parser";

const document = await SwaggerParser.validate(process.argv[2]);
console.log("ok", document.info.title, Object.keys(document.paths).length);
